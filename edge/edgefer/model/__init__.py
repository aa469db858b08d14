"""The model file: its card, its labels, and the classifier that runs it."""
