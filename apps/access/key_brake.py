"""The brake on wrong API keys: how many one peer may send before the next is not looked up.

A key has 256 random bits, so this guards no secret: it keeps a peer that guesses, or repeats a dead key for ever, from
costing everybody else a query each time. It is kept in this process's memory, bounded, and writes no row; a key that
was right a short while ago passes, whatever else its peer sent.
"""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

from apps.access.errors import KeyRefused, TooManyTries
from apps.access.keys import find_key
from apps.access.models import ApiKey

BURST = 60
PER_SECOND = 1.0
GOOD_SECONDS = 3600.0
TOLD_SECONDS = 300.0
"""How long the log is silent about a peer after mentioning it."""

PEERS_LIMIT = 10_000
"""How many peers and good keys are remembered; the least recently used are forgotten first."""

K = TypeVar("K")
V = TypeVar("V")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class KeyBrake:
    """Wrong keys by peer (a leaky bucket: its level, and when) and good keys by hash; thread-safe.

    Times are seconds on one monotonic clock.
    """

    levels: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    good: OrderedDict[bytes, float] = field(default_factory=OrderedDict)
    told: OrderedDict[str, float] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, peer: str, digest: bytes, now: float) -> float:
        """Returns 0 if the key may be looked up."""
        with self.lock:
            if self.good.get(digest, 0.0) > now:
                return 0.0
            return max(0.0, (self._level(peer, now) - BURST + 1) / PER_SECOND)

    def note_right(self, digest: bytes, now: float) -> None:
        with self.lock:
            _remember(self.good, digest, now + GOOD_SECONDS)

    def note_wrong(self, peer: str, digest: bytes, now: float) -> bool:
        """Returns whether the peer must now wait and the log has not said so recently."""
        with self.lock:
            self.good.pop(digest, None)
            level = min(self._level(peer, now) + 1, float(BURST))
            _remember(self.levels, peer, (level, now))
            is_news = level > BURST - 1 and self.told.get(peer, 0.0) <= now
            if is_news:
                _remember(self.told, peer, now + TOLD_SECONDS)
            return is_news

    def clear(self) -> None:
        with self.lock:
            self.levels.clear()
            self.good.clear()
            self.told.clear()

    def _level(self, peer: str, now: float) -> float:
        level, then = self.levels.get(peer, (0.0, now))
        return max(0.0, level - (now - then) * PER_SECOND)


def find_key_of_peer(text: str, peer: str) -> ApiKey:
    """Like `find_key`; raises TooManyTries, without a query, if the peer recently sent too many wrong keys."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    now = time.monotonic()
    if wait := key_brake.wait_seconds(peer, digest, now):
        seconds = max(1, ceil(wait))
        raise TooManyTries(f"Too many wrong API keys came from {peer}. Try again in {seconds} seconds.", seconds)
    try:
        key = find_key(text)
    except KeyRefused:
        if key_brake.note_wrong(peer, digest, now):
            logger.warning("keys.brake peer=%s", peer)
        raise
    key_brake.note_right(digest, now)
    return key


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > PEERS_LIMIT:
        known.popitem(last=False)


key_brake = KeyBrake()
