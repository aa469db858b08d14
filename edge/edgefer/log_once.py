"""Repeated messages, logged once: a fault that repeats for a year must not fill the log."""

from __future__ import annotations

import logging


class LogOnce:
    """Logs the first message of each kind; the caller counts the others."""

    KINDS = 100
    """Kinds that are remembered; messages of further kinds are not logged."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._kinds = logger, set[str]()

    def __call__(self, level: int, message: str, kind: str = "", exc_info: bool = False) -> None:
        """Log ``message`` unless one of its ``kind`` was logged; without a kind, the message is the kind."""
        kind = kind or message
        if kind not in self._kinds and len(self._kinds) < self.KINDS:
            self._kinds.add(kind)
            self._logger.log(level, "%s (logged once)", message, exc_info=exc_info)
