"""What was seen over time: a SQLite file of minutes, visits and changes, and its exports."""
