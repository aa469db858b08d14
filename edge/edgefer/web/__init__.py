"""The web page and its JSON API: routes, access, live view, health and metrics."""
