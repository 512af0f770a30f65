"""Bounds the connections of one server, in total and per peer, and acts on overdue ones.

When all places are taken, the connection that has waited longest without a whole request makes room for the newcomer,
so that idle and half-sent connections cannot lock out others. A server refuses only if every connection is busy with a
request.
"""

import asyncio
import ipaddress
from collections import Counter
from typing import Protocol

from trigger_site.edge.limits import Limits

SWEEP_SECONDS = 0.5


class Guest(Protocol):
    """A connection as the gate sees it."""

    peer: str
    deadline: float | None
    """When to call `overdue`, on the loop's clock; None for never."""

    def overdue(self) -> None: ...
    def leave_for_another(self) -> None: ...


class Gate:
    """The connections of one server. All calls come from its event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._guests: set[Guest] = set()
        self._per_peer: Counter[str] = Counter()
        self._waiting: dict[Guest, None] = {}
        """Those without a whole request, longest waiting first."""
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def guest_count(self) -> int:
        return len(self._guests)

    def enter(self, guest: Guest) -> bool:
        """Returns whether there is a place for it; a guest that has entered must `leave`."""
        if not self._has_place(guest.peer):
            return False
        self._guests.add(guest)
        self._per_peer[guest.peer] += 1
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._call_overdue)
        return True

    def leave(self, guest: Guest) -> None:
        """Gives its place back; a second call does nothing."""
        self._waiting.pop(guest, None)
        if guest in self._guests:
            self._guests.remove(guest)
            self._per_peer[guest.peer] -= 1
            if not self._per_peer[guest.peer]:
                del self._per_peer[guest.peer]

    def waits(self, guest: Guest) -> None:
        """Notes that it has no whole request from now on."""
        if guest in self._guests:
            self._waiting.setdefault(guest)

    def works(self, guest: Guest) -> None:
        """Notes that it has sent a whole request, which is being answered."""
        self._waiting.pop(guest, None)

    def _has_place(self, peer: str) -> bool:
        per_peer = self.limits.connections_per_peer
        if per_peer and peer and self._per_peer[peer] >= per_peer:
            return self._make_place(peer)
        return len(self._guests) < self.limits.connections or self._make_place(None)

    def _make_place(self, peer: str | None) -> bool:
        """Closes the connection that has waited longest, only of this peer if one is named."""
        for guest in self._waiting:
            if peer is None or guest.peer == peer:
                self.leave(guest)
                guest.leave_for_another()
                return True
        return False

    def _call_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for guest in list(self._guests):
            if guest.deadline is not None and guest.deadline <= now:
                loop.call_soon(guest.overdue)  # separately, so that none can keep the others from their turn
        self._sweep = loop.call_later(SWEEP_SECONDS, self._call_overdue) if self._guests else None


def peer_of(client: tuple[str, int] | None) -> str:
    """Returns the peer of a socket address: an IPv4 address, or the /64 network that one IPv6 host can choose from.

    Empty for a local socket, which has no address.
    """
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
