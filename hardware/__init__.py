"""The only room that touches pins and serial ports: button, lamp, buzzer, GPS, clock facts.

It knows nothing about alarms or MQTT. Callbacks of libraries end here: what leaves this room is a
plain value handed to a function that only enqueues.
"""
