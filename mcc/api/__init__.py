"""The HTTP API for other systems: reading alarms and posts, acting on alarms, and a webhook out."""
