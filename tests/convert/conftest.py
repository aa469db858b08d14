"""The toy dataset, a model trained on it, and its int8 file."""

from toy_fixtures import folder, pictures, table, toy_int8, toy_run, votes, zipped

__all__ = ["folder", "pictures", "table", "toy_int8", "toy_run", "votes", "zipped"]
