"""What every process is made of: events, log lines, settings files, the MQTT link."""
