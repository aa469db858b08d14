"""The web page: its routes, who may ask, the live view and the metrics."""
