"""Limits per client: how often wrong tokens may be tried, and how requests share the server."""

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
        attempts = self._by_address.get(network_of(address), deque())
        return self._full(attempts, MAX_WRONG) or self._full(self._total, MAX_WRONG_TOTAL)

    def _full(self, times: deque[float], limit: int) -> bool:
        return len(times) >= limit and self._clock() - times[-limit] < WINDOW_S

    def count(self, address: str) -> None:
        """Count one wrong token."""
        key = network_of(address)
        self._by_address.setdefault(key, deque(maxlen=MAX_WRONG)).append(self._clock())
        self._by_address.move_to_end(key)
        self._total.append(self._clock())
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)


def network_of(address: str) -> str:
    """An IPv4 address, also one that is mapped into IPv6; of an IPv6 address its /64 network: one machine has all addresses of that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


class FairShare:
    """Limits the requests a second of all clients together; clients that send at the same time get equal shares.

    Otherwise one that sends without a pause would make all others wait.
    """

    BURST_S = 1.0
    """After this many seconds without requests, a client may send those of as many seconds at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}
        """When the next request of a client is due."""

    def wait_s(self, client: str, per_s: float) -> float:
        """Seconds that a new request has to wait, where all clients together may send ``per_s`` a second."""
        now_s = self._clock()
        self._next_s = {other: next_s for other, next_s in self._next_s.items() if next_s > now_s - self.BURST_S}
        earliest_s = now_s - self.BURST_S
        share_s = len({*self._next_s, client}) / per_s
        self._next_s[client] = max(self._next_s.get(client, earliest_s), earliest_s) + share_s
        return max(0.0, self._next_s[client] - now_s)
