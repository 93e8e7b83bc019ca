"""How fast, how large, how hungry: the product beside a floor of bare clients, in one run.

Nothing here is imported by the product, and nothing here may change what the product does.
"""
