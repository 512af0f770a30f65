"""The limits on what one server accepts from the network; the gate and the protocol enforce them."""

import logging
import resource
from dataclasses import dataclass, replace

from django.conf import settings

RESERVED_FILES = 128
"""Descriptors reserved for the database, files and the listening sockets."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server process. `connections_per_peer` 0 means that peers are not counted."""

    connections: int
    connections_per_peer: int
    read_seconds: float
    """For a complete head, and for a body until its bytes earn it more."""
    head_bytes: int = 32 * 1024
    """Request line and headers. Twice what browsers and proxies allow."""
    header_count: int = 100
    target_bytes: int = 8 * 1024
    """The address with its query."""
    slowest_bytes_per_second: int = 1024
    """The average rate that a body's sender, or an answer's reader, must reach after `read_seconds`."""
    pipelined: int = 16
    """How many requests of one connection may wait for earlier answers."""


def limits_from_settings() -> Limits:
    """Returns the configured limits, capped by how many files this process may open; raises its soft limit of those."""
    wanted = Limits(
        connections=settings.TRIGGER_CONNECTIONS,
        connections_per_peer=settings.TRIGGER_CONNECTIONS_PER_PEER,
        read_seconds=settings.TRIGGER_READ_SECONDS,
    )
    allowed = max(1, _open_files() - RESERVED_FILES)
    if wanted.connections > allowed:
        logger.warning("edge.open_files: %s connections at most, by this process's limit of open files", allowed)
    return replace(wanted, connections=min(wanted.connections, allowed))


def is_every_network(host: str) -> bool:
    """Whether a server that listens there is reachable from outside although nobody named a network."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not listened on


def _open_files() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.TRIGGER_CONNECTIONS + RESERVED_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
