"""Bounded queues between threads: when full, the oldest item is dropped and counted."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue of at most ``slots`` items: a new item replaces the oldest one. With one slot only the newest item is kept."""

    def __init__(self, slots: int) -> None:
        self._items: deque[T] = deque()
        self._slots = slots
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item: T, wait_until: threading.Event | None = None) -> None:
        """Add an item; when full, drop the oldest. Does nothing once closed.

        With ``wait_until``, wait for a free slot instead of dropping, until that event is set.
        """
        with self._changed:
            while wait_until and len(self._items) >= self._slots and not (self._closed or wait_until.is_set()):
                self._changed.wait(timeout=0.2)
            if self._closed:
                return
            if len(self._items) >= self._slots:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T | None:
        """The oldest item; None once closed and empty. Raises `TimeoutError` when no item arrives in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout_s):
                raise TimeoutError(f"no item within {timeout_s} s")
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Accept no more items; those inside can still be taken. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
