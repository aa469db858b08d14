"""Models over the air: the order, the trial and the way back."""
