"""Officers go from door to door: visits, follow-ups, coverage, and what is held about people."""
