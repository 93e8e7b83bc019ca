"""Alarms and what became of them: what ingest hears, what people do, and the feed of changes."""
