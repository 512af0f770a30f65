"""The brake on password sign-in: how many wrong tries are read before the next ones must wait.

Three counts, each in its own row, shared by all web processes: of account and peer together, of the peer, and of the
account. A try is counted before its password is hashed and uncounted if it was right, so that a burst of simultaneous
tries gets no further than the same tries one by one.

Nobody can lock an account's owner out: waits are short, an account that recently signed in from a peer is counted only
for the pair, and one-time links (`sign_in.py`) bypass the brake.
"""

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.access import audit
from apps.access.errors import TooManyTries
from apps.access.models import Brake
from apps.access.permissions import Actor

QUIET = timedelta(hours=1)
"""After this long without a failure a count starts over."""

KNOWN_FOR = timedelta(days=30)
KEPT_FOR = timedelta(days=1)
"""How long a row is kept after its last use if nothing else in it needs remembering."""

FORGOTTEN_AT_ONCE = 20
"""Idle rows removed by each failure: more than it creates, so that the table cannot grow for long."""

ENTRIES_PER_HOUR = 200
"""Audit entries and log lines of refused sign-ins; any beyond are counted and reported in the next entry."""

UNKNOWN_ACCOUNT = "unknown account"
SUBJECT_MAX_LENGTH = 128

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """`free_count` failures cost nothing; then each doubles the wait, from `first` to `longest`."""

    free_count: int
    first: timedelta
    longest: timedelta

    def wait_after(self, failure_count: int) -> timedelta | None:
        excess = failure_count - self.free_count
        return None if excess < 0 else min(self.longest, self.first * 2 ** min(excess, 16))


PAIR_LIMIT = Limit(free_count=5, first=timedelta(seconds=15), longest=timedelta(minutes=15))
PEER_LIMIT = Limit(free_count=40, first=timedelta(seconds=15), longest=timedelta(minutes=15))
ACCOUNT_LIMIT = Limit(free_count=100, first=timedelta(seconds=5), longest=timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a try is counted against. Lookalike spellings of a name are one account."""

    account: str
    peer: str

    @property
    def pair_key(self) -> str:
        return _key("pair", self.account, self.peer)

    @property
    def limits(self) -> dict[str, Limit]:
        return {
            self.pair_key: PAIR_LIMIT,
            _key("peer", self.peer): PEER_LIMIT,
            _key("account", self.account): ACCOUNT_LIMIT,
        }

    @classmethod
    def of(cls, username: str, peer: str) -> "Subjects":
        return cls(unicodedata.normalize("NFKC", username).casefold(), peer)


@dataclass(frozen=True, slots=True)
class Try:
    """A counted try and the rows it was counted in."""

    subjects: Subjects
    counted: frozenset[str]


def take_try(subjects: Subjects) -> Try:
    """Counts a try as if it failed; raises TooManyTries, without counting, if one of the counts must wait.

    Refused tries write no rows of their own: they are counted in the rows that refused them.
    """
    _refuse_blocked(subjects)
    with transaction.atomic():
        rows = _locked(subjects.limits)
        now = next(iter(rows.values())).touched_at
        is_known = _is_known(rows[subjects.pair_key], now)
        counted = [row for key, row in rows.items() if key == subjects.pair_key or not is_known]
        _refuse(counted, now)
        for row in counted:
            is_quiet = row.failed_at is None or row.failed_at < now - QUIET
            row.failure_count = 1 if is_quiet else row.failure_count + 1
            row.failed_at = now
            wait = subjects.limits[row.subject].wait_after(row.failure_count)
            row.blocked_until = None if wait is None else now + wait
        Brake.objects.bulk_update(counted, ["failure_count", "failed_at", "blocked_until"])
    return Try(subjects, frozenset(row.subject for row in counted))


def give_back(one: Try) -> None:
    """Undoes `take_try` if the password was never read."""
    with transaction.atomic():
        _give_back(_locked(one.counted).values(), one.subjects.limits)


def note_success(one: Try) -> None:
    """Forgets this account's failures from this peer, and takes the try back from the other counts.

    The peer's count remains: otherwise the owner of one account could clear it between guesses at another.
    """
    with transaction.atomic():
        rows = _locked(one.counted)
        pair = rows.pop(one.subjects.pair_key)
        pair.failure_count, pair.refused_count, pair.blocked_until = 0, 0, None
        pair.known_until = pair.touched_at + KNOWN_FOR
        pair.save(update_fields=["failure_count", "refused_count", "blocked_until", "known_until"])
        _give_back(rows.values(), one.subjects.limits)


def note_failure(one: Try, username: str) -> None:
    """Records a wrong password, and the wait it caused, in the audit trail and the log."""
    with transaction.atomic():
        rows = _locked(one.counted)
        refused_count = sum(row.refused_count for row in rows.values())
        Brake.objects.filter(subject__in=rows, refused_count__gt=0).update(refused_count=0)
    blocks = [row.blocked_until - row.failed_at for row in rows.values() if row.blocked_until and row.failed_at]
    details: dict[str, Any] = {
        "peer": one.subjects.peer,
        "failure_count": rows[one.subjects.pair_key].failure_count,
    }
    if refused_count:
        details["refused_count"] = refused_count
    if blocks:
        details["locked_seconds"] = round(max(blocks).total_seconds())
    try:
        _leave_entry("sign_in.lock" if blocks else "sign_in.refuse", username, details)
        _forget_idle()
    except OperationalError as error:
        # The count of entries is one row for all: a lock on it must not delay anyone's answer.
        logger.warning("sign_in.entry_lost peer=%s: %s", one.subjects.peer, str(error).strip())


def _leave_entry(action: str, username: str, details: dict[str, Any]) -> None:
    with transaction.atomic():
        entries = _locked([_key("entries")])[_key("entries")]
        if entries.failed_at is None or entries.failed_at < entries.touched_at - timedelta(hours=1):
            entries.failure_count, entries.failed_at = 0, entries.touched_at
        entries.failure_count += 1
        is_shown = entries.failure_count <= ENTRIES_PER_HOUR
        if is_shown and entries.refused_count:
            details = {**details, "entries_left_out": entries.refused_count}
        entries.refused_count = 0 if is_shown else entries.refused_count + 1
        entries.save(update_fields=["failure_count", "failed_at", "refused_count"])
        if is_shown:
            subject = username[:SUBJECT_MAX_LENGTH] if _is_account(username) else UNKNOWN_ACCOUNT
            audit.record(Actor("anonymous", frozenset()), action, subject, **details)
            logger.warning("%s user=%r %s", action, subject, " ".join(f"{k}={v}" for k, v in details.items()))


def _is_account(username: str) -> bool:
    """Whether the name is an account. Other names are not recorded: some are passwords."""
    return User.objects.filter(username=username).exists()


def _refuse_blocked(subjects: Subjects) -> None:
    """Refuses cheaply, without a lock: one read and one count while a brake holds."""
    rows = {row.subject: row for row in Brake.objects.filter(subject__in=subjects.limits).annotate(now=Now())}
    if not rows:
        return
    now: datetime = vars(next(iter(rows.values())))["now"]
    pair = rows.get(subjects.pair_key)
    asked = [pair] if pair is not None and _is_known(pair, now) else list(rows.values())
    try:
        _refuse(asked, now)
    except TooManyTries:
        blocked = [row.subject for row in asked if row.blocked_until is not None and row.blocked_until > now]
        Brake.objects.filter(subject__in=blocked).update(refused_count=F("refused_count") + 1)
        raise


def _refuse(rows: Iterable[Brake], now: datetime) -> None:
    waits = [row.blocked_until - now for row in rows if row.blocked_until is not None and row.blocked_until > now]
    if waits:
        seconds = ceil(max(waits).total_seconds())
        raise TooManyTries(f"Too many wrong passwords. Try again in {words_of(seconds)}.", seconds)


def _is_known(pair: Brake, now: datetime) -> bool:
    return pair.known_until is not None and pair.known_until > now


def _locked(keys: Iterable[str]) -> dict[str, Brake]:
    """Returns the rows, created if missing, locked in a fixed order; `touched_at` is the database's time."""
    order = sorted(keys)
    # The statement's time, not the transaction's: after a wait for the lock, it sees what was written meanwhile.
    fresh = [Brake(subject=key, touched_at=Now()) for key in order]
    Brake.objects.bulk_create(fresh, update_conflicts=True, update_fields=["touched_at"], unique_fields=["subject"])
    return {row.subject: row for row in Brake.objects.filter(subject__in=order)}


def _give_back(rows: Iterable[Brake], limits: dict[str, Limit]) -> None:
    changed = []
    for row in rows:
        if row.failure_count:
            row.failure_count -= 1
            if limits[row.subject].wait_after(row.failure_count) is None:
                row.blocked_until = None
            changed.append(row)
    Brake.objects.bulk_update(changed, ["failure_count", "blocked_until"])


def _forget_idle() -> None:
    idle = Brake.objects.filter(Q(known_until=None) | Q(known_until__lt=Now()), touched_at__lt=Now() - KEPT_FOR)
    with transaction.atomic():
        # Skipping locked rows avoids deadlocks: other transactions lock in another order.
        rows = idle.select_for_update(skip_locked=True).order_by("touched_at")
        keys: Sequence[str] = list(rows.values_list("subject", flat=True)[:FORGOTTEN_AT_ONCE])
        Brake.objects.filter(subject__in=keys).delete()


def _key(kind: str, *parts: str) -> str:
    text = "\0".join([kind, *parts])
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def words_of(seconds: int) -> str:
    """Returns `1 second`, `45 seconds`, `15 minutes`: whole minutes from two up, rounded up."""
    count, unit = (seconds, "second") if seconds < 120 else (ceil(seconds / 60), "minute")
    return f"{count} {unit}" + ("" if count == 1 else "s")
