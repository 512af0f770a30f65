"""Judges what kills did to one run, from its ledger and its rows. Knows nothing of how the kills were made.

The order of places is that of a run that nothing disturbed. Each attempt must have passed an unbroken stretch of it
that begins where the last checkpoint stood: never before one whose return was noted, and for all that was committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLANNED = ("kill ", "raise")


@dataclass(frozen=True)
class Entry:
    attempt: int
    pid: int
    place: str


@dataclass(frozen=True)
class Stored:
    """A checkpoint or a step in the table, its data and carried values as JSON text."""

    key: str
    kind: str
    data: str
    carried: str | None
    attempt: int = field(compare=False)


@dataclass(frozen=True)
class Ended:
    number: int
    outcome: str
    resumed_from: str | None


@dataclass(frozen=True)
class Evidence:
    """Everything known of one run when it has ended."""

    run_id: str
    state: str
    output: object
    entries: Sequence[Entry]
    stored: Sequence[Stored]
    attempts: Sequence[Ended]


@dataclass
class Verdict:
    """What was wrong, in words; and what it cost."""

    wrongs: list[str] = field(default_factory=list)
    lost_count: int = 0
    """Checkpoints and steps whose return was noted and that are not in the table, or with other data."""
    repeated_count: int = 0
    """Segments of which something ran again."""


def read_ledger(path: Path) -> list[Entry]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [Entry(int(attempt), int(pid), what) for attempt, pid, what in (line.split(" ", 2) for line in lines)]


def places_of(entries: Sequence[Entry], attempt: int) -> list[str]:
    return [e.place for e in entries if e.attempt == attempt and not e.place.startswith(PLANNED)]


class Judge:
    """Compares disturbed runs with one that was not."""

    def __init__(self, clean: Evidence) -> None:
        self._clean = clean
        self.order = places_of(clean.entries, 1)
        self.keys = [stored.key for stored in clean.stored]
        resume_keys = [stored.key for stored in clean.stored if stored.kind == "checkpoint"]
        self._begins = {None: 0} | {key: self.order.index(f"returned {key}") for key in resume_keys}

    def segment_of(self, place: str) -> int:
        """Where the segment of the place begins, by its position."""
        position = self.order.index(place)
        return max(begin for begin in self._begins.values() if begin <= position)

    def verdict(self, run: Evidence, *, attempt_count: int) -> Verdict:
        """`attempt_count` is one more than the kills that end an attempt."""
        verdict = Verdict()
        if (run.state, run.output) != (self._clean.state, self._clean.output):
            verdict.wrongs.append(f"{run.state} with {run.output}")
        if len(run.attempts) != attempt_count or [a.outcome for a in run.attempts].count("completed") != 1:
            verdict.wrongs.append(f"{attempt_count} attempts were due, not {[a.outcome for a in run.attempts]}")
        self._judge_storage(run, verdict)
        self._judge_stretches(run, verdict)
        return verdict

    def _judge_storage(self, run: Evidence, verdict: Verdict) -> None:
        stored = {entry.key: entry for entry in run.stored}
        for due in self._clean.stored:
            acknowledged = any(entry.place == f"returned {due.key}" for entry in run.entries)
            if acknowledged and stored.get(due.key) != due:
                verdict.lost_count += 1
                verdict.wrongs.append(f"{due.key} was acknowledged; stored is {stored.get(due.key)}, not {due}")
        if [entry.key for entry in run.stored] != self.keys:
            verdict.wrongs.append(f"the table holds {[entry.key for entry in run.stored]}")

    def _judge_stretches(self, run: Evidence, verdict: Verdict) -> None:
        reached, begun, done_steps = 0, -1, set[str]()
        for attempt in run.attempts:
            places = places_of(run.entries, attempt.number)
            if not places:
                continue
            begin = self.order.index(places[0])
            committed = [e.key for e in run.stored if e.kind == "checkpoint" and e.attempt < attempt.number]
            due = self._begins[committed[-1] if committed else None]
            self._judge_begin(begin, max(due, reached), attempt, verdict)
            self._judge_order(places, begin, done_steps, attempt.number, verdict)
            verdict.repeated_count += begin <= begun
            begun = self.order.index(places[-1])
            reached = max(reached, self.segment_of(places[-1]))
            done_steps |= {place.removeprefix("returned ") for place in places if place.startswith("returned s")}
        if self.order[-1] != (places_of(run.entries, run.attempts[-1].number) or [""])[-1]:
            verdict.wrongs.append("the last attempt did not reach the end")

    def _judge_begin(self, begin: int, due: int, attempt: Ended, verdict: Verdict) -> None:
        if begin != due:
            verdict.wrongs.append(f"attempt {attempt.number} began at {self.order[begin]}, not {self.order[due]}")
        is_untold = not attempt.resumed_from and attempt.outcome in ("lost", "released")
        if self._begins.get(attempt.resumed_from) != begin and not is_untold:
            verdict.wrongs.append(f"attempt {attempt.number} says it resumed from {attempt.resumed_from}")

    def _judge_order(self, places: list[str], begin: int, done_steps: set[str], attempt: int, verdict: Verdict) -> None:
        """Within an attempt nothing is left out but the inside of a step that was done, and that is never repeated."""
        due = self.order[begin : self.order.index(places[-1]) + 1]
        outside = [place for place in due if not place.startswith("within ")]
        if [place for place in places if not place.startswith("within ")] != outside:
            verdict.wrongs.append(f"attempt {attempt} passed {places}, not {due}")
        inside = [place.removeprefix("within ") for place in places if place.startswith("within ")]
        if done_steps & set(inside) or len(inside) != len(set(inside)):
            verdict.wrongs.append(f"attempt {attempt} ran steps again: {inside}")
