"""The history of what was seen: a SQLite file of minutes, visits and changes, and its exports."""
