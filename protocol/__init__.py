"""The wire contract, version 1: topics, messages, states and their validation.

Both sides share this room and it knows none of the others: it decides what may be said,
never what it leads to.
"""
