"""Limits how often wrong tokens may be tried."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MAX_WRONG, WINDOW_S = 5, 60.0
"""Wrong tokens within the window, in seconds, after which an address is refused."""
MAX_WRONG_TOTAL = 100
"""Wrong tokens of all addresses within the window, after which every address is refused."""
MAX_ADDRESSES = 1024
"""Addresses that are remembered."""


class RateLimit:
    """Counts wrong tokens by address, for a bounded number of addresses and a bounded time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._total: deque[float] = deque(maxlen=MAX_WRONG_TOTAL)

    @property
    def addresses(self) -> int:
        """Number of addresses that are remembered."""
        return len(self._by_address)

    def exceeded(self, address: str) -> bool:
        """Whether tokens of this address are refused now."""
        attempts = self._by_address.get(_network(address), deque())
        return self._full(attempts, MAX_WRONG) or self._full(self._total, MAX_WRONG_TOTAL)

    def _full(self, times: deque[float], limit: int) -> bool:
        return len(times) >= limit and self._clock() - times[-limit] < WINDOW_S

    def count(self, address: str) -> None:
        """Count one wrong token."""
        key = _network(address)
        self._by_address.setdefault(key, deque(maxlen=MAX_WRONG)).append(self._clock())
        self._by_address.move_to_end(key)
        self._total.append(self._clock())
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)


def _network(address: str) -> str:
    """An IPv4 address; of an IPv6 address its /64 network, because one machine has all addresses of that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
