"""Many dead letters at once: requeued, all together or one after the other at a rate, or discarded with one note.

Done in chunks, each a transaction of its own: what was done stays done, and the same call again does the rest. Every
run is judged as alone (`one.py`); what is refused stays as it is, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import OperationalError, connection, transaction
from trigger_sdk.times import TimeRefused, read_time

from apps.access import audit
from apps.access.permissions import Action, Actor
from apps.checkpoints.errors import DeploymentNotFound
from apps.checkpoints.resume import LATEST, ORIGINAL, Choice, choose_deployment, find_deployment, saved_entries_of
from apps.http.answers import timestamp
from apps.http.cursors import read_cursor, write_cursor
from apps.http.errors import FieldError, RequestInvalid
from apps.http.filters import Chosen
from apps.live.notify import announce_runs
from apps.queues.claim.rates import parse_rate
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS, refuse_unstorable
from apps.queues.dead_letters.one import (
    DISCARD_RUNS,
    REQUEUE_RUNS,
    checked_note,
    refusal_text,
    requeue_refusals,
    state_refusal,
)
from apps.queues.dead_letters.selection import MANY_LIMIT
from apps.queues.errors import SelectionInvalid
from apps.runs.models import Run, RunQuerySet
from apps.storage.ids import parse_public_id, public_id
from apps.storage.statements import is_held

CHUNK = 100
"""Runs per transaction: each may bring thousands of checkpoints to be judged by."""

HELD_REASON = "Another transaction holds the run; nothing was changed, try again."

LONGEST_SPREAD = timedelta(days=365)
"""From the first call on, however many follow it by their cursors."""

LISTING = "dead-letters-moved"


@dataclass(frozen=True, slots=True)
class Selection:
    """Either `ids`, in their order, or what fits the filter, oldest first; `cursor`: the `next` of an earlier call."""

    ids: Sequence[UUID] | None = None
    chosen: Chosen | None = None
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    run_id: UUID
    reason: str


@dataclass(slots=True)
class Moved:
    """`next` goes on behind the last run that was looked at; None: nothing is left."""

    moved_count: int = 0
    refused: list[Refused] = field(default_factory=list)
    next: str | None = None


def requeue_many(selection: Selection, *, deployment: str = ORIGINAL, rate: str | None = None, actor: Actor) -> Moved:
    """Requeues at most 10,000 dead letters; with a rate as `10/s` the n-th becomes pending n intervals later.

    The first goes at once; a further call with `cursor` keeps the distance to the last one. Raises SelectionInvalid and
    DeploymentNotFound.
    """
    interval = _interval(rate)
    _refuse_unknown_deployment(deployment)
    place = _Place.of(selection.cursor)
    run_ids, is_cut = _candidates(selection, place)
    now = _database_now()
    base_at = max(now, place.due_at or now)
    _refuse_long_spread(interval, len(run_ids), base_at - now)
    result = Moved()
    for chunk in _chunks(run_ids):
        with transaction.atomic():
            runs = _locked(selection, chunk, result, "requeued")
            choices = _judged(runs, deployment, result)
            first = result.moved_count
            delays = [None if interval is None else (first + n) * interval for n in range(len(choices))]
            moved = [run_id for run_id, _ in choices]
            REQUEUE_RUNS.run(
                run_ids=moved,
                deployment_ids=[choice.deployment.id for _, choice in choices],
                delays=delays,
                base_at=base_at,
            )
            _record(actor, Action.RUNS_REQUEUE, moved, deployment=deployment, rate=rate)
            announce_runs(moved, is_pending=True)
        result.moved_count += len(moved)
    if is_cut:
        due_at = None if interval is None else base_at + timedelta(seconds=interval * result.moved_count)
        result.next = _Place(run_ids[-1], due_at).text
    return result


def discard_many(selection: Selection, *, note: str, actor: Actor) -> Moved:
    """Discards at most 10,000 dead letters; raises SelectionInvalid and NoteInvalid."""
    text = checked_note(note)
    run_ids, is_cut = _candidates(selection, _Place.of(selection.cursor))
    result = Moved()
    for chunk in _chunks(run_ids):
        with transaction.atomic():
            runs = _locked(selection, chunk, result, "discarded")
            moved = [row.id for row in DISCARD_RUNS.run(run_ids=[run.id for run in runs], note=text)]
            _record(actor, Action.RUNS_DISCARD, moved, note=text)
            announce_runs(moved)
        result.moved_count += len(moved)
    if is_cut:
        result.next = _Place(run_ids[-1], None).text
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call ended: behind this run, and at a rate the time at which the next one is due."""

    run_id: UUID | None = None
    due_at: datetime | None = None

    @classmethod
    def of(cls, cursor: str) -> _Place:
        if not cursor:
            return cls()
        try:
            run, due = read_cursor(LISTING, cursor, str, str)
            return cls(parse_public_id("run", run), read_time(due) if due else None)
        except (RequestInvalid, TimeRefused):
            raise _invalid("cursor", "is not one that a call gave out as `next`") from None

    @property
    def text(self) -> str:
        assert self.run_id is not None, "a place is behind a run"
        return write_cursor(LISTING, public_id("run", self.run_id), timestamp(self.due_at) or "")


def _candidates(selection: Selection, place: _Place) -> tuple[list[UUID], bool]:
    """The runs to look at, and whether more are left behind them."""
    if (selection.ids is None) == (selection.chosen is None):
        raise _invalid("ids", "give either ids or a filter; an empty filter means all")
    if selection.chosen is None:
        run_ids = list(dict.fromkeys(selection.ids or ()))
        if not 1 <= len(run_ids) <= MANY_LIMIT:
            raise _invalid("ids", f"must be from 1 to {MANY_LIMIT:,}, not {len(run_ids):,}")
        if selection.cursor:
            raise _invalid("cursor", "belongs to a filter")
        return run_ids, False
    refuse_unstorable(selection.chosen)
    runs = selection.chosen.apply(Run.objects.order_by("id"))
    if place.run_id is not None:
        runs = runs.filter(id__gt=place.run_id)
    found = list(runs.values_list("id", flat=True)[: MANY_LIMIT + 1])
    return found[:MANY_LIMIT], len(found) > MANY_LIMIT


def _locked(selection: Selection, chunk: Sequence[UUID], result: Moved, wanted: str) -> list[Run]:
    """The chunk's dead letters, locked in id order and returned in the chunk's; others that were named are refused,
    and so is what another transaction holds.

    The filter is asked again under the lock: what others moved meanwhile is theirs.
    """
    chosen = selection.chosen or Chosen(DEAD_LETTER_FILTERS)
    wished = chosen.apply(Run.objects.filter(id__in=chunk)).order_by("id")
    found, held = _lock(wished)
    states = {}
    if selection.ids is not None:
        states = dict(Run.objects.filter(id__in=set(chunk) - found).values_list("id", "state"))
    for run_id in chunk:
        if run_id in held:
            result.refused.append(Refused(run_id, HELD_REASON))
        elif run_id not in found and selection.ids is not None:
            is_there = run_id in states
            reason = state_refusal(states[run_id], wanted) if is_there else "There is no such run."
            result.refused.append(Refused(run_id, reason))
    # Read after the lock: what is judged is what goes on.
    runs = Run.objects.with_deployments().in_bulk(list(found))
    return [runs[run_id] for run_id in chunk if run_id in found]


def _lock(wished: RunQuerySet) -> tuple[set[UUID], set[UUID]]:
    """The runs that are locked now, and those that another transaction holds for longer than `lock_timeout`."""
    try:
        with transaction.atomic():
            locked = wished.select_for_update(of=("self",), no_key=True)
            return set(locked.values_list("id", flat=True)), set()
    except OperationalError as error:
        if not is_held(error):
            raise
    free = wished.select_for_update(of=("self",), no_key=True, skip_locked=True)
    found = set(free.values_list("id", flat=True))
    return found, set(wished.values_list("id", flat=True)) - found


def _judged(runs: Sequence[Run], deployment: str, result: Moved) -> list[tuple[UUID, Choice]]:
    """Those that can go on, each with its code; the others are refused."""
    entries = saved_entries_of([run.id for run in runs])
    choices: dict[tuple[str, UUID | None], Choice] = {}
    found = []
    for run in runs:
        place = (run.task_id, run.deployment_id)
        try:
            choice = choices.get(place) or choices.setdefault(place, choose_deployment(run, deployment))
        except DeploymentNotFound as error:
            result.refused.append(Refused(run.id, error.detail))
            continue
        if refusals := requeue_refusals(run, choice, entries[run.id]):
            result.refused.append(Refused(run.id, refusal_text(refusals)))
        else:
            found.append((run.id, choice))
    return found


def _record(actor: Actor, action: Action, run_ids: Sequence[UUID], **details: object) -> None:
    subjects = [public_id("run", run_id) for run_id in run_ids]
    audit.record_many(actor, action, subjects, **{name: value for name, value in details.items() if value is not None})


def _interval(rate: str | None) -> float | None:
    if rate is None:
        return None
    try:
        return parse_rate(rate).interval_seconds
    except ValueError as error:
        raise _invalid("rate", str(error)) from error


def _refuse_long_spread(interval: float | None, count: int, begun: timedelta) -> None:
    """`begun` is how far earlier calls have come already."""
    if interval is not None and begun.total_seconds() + interval * count > LONGEST_SPREAD.total_seconds():
        raise _invalid("rate", f"is too slow: the last run would be due in more than {LONGEST_SPREAD.days} days")


def _refuse_unknown_deployment(wanted: str) -> None:
    """One that no run could be requeued on; whose task set it is, is judged run by run."""
    if wanted not in (ORIGINAL, LATEST):
        find_deployment(wanted)


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT trigger_now()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime), "a timestamp"
    return now


def _chunks(run_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(run_ids), CHUNK):
        yield run_ids[start : start + CHUNK]


def _invalid(path: str, message: str) -> SelectionInvalid:
    return SelectionInvalid(f"{path} {message}", (FieldError(path, message),))
