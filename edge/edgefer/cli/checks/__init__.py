"""The checks of ``edgefer doctor``, by subject."""
