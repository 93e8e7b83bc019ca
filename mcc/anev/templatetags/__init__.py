"""Numbers for templates."""
