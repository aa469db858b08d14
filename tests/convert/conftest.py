"""The toy dataset, and a model trained on it."""

from toy_fixtures import folder, pictures, table, toy_run, votes, zipped

__all__ = ["folder", "pictures", "table", "toy_run", "votes", "zipped"]
