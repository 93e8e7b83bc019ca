"""The reference command centre: any MQTT client that speaks the contract can be one.

It hears the gateways' documents, keeps them, rings, and sends the operators' commands until a
document shows them. `mcc.core` decides, `mcc.store` remembers, the rest is edges.
"""
