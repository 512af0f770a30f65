"""Judges a campaign of faults from its ledgers, its rows and its list of faults. Knows nothing of how they were made.

What the ledger says stands above what the database says. An attempt's number orders it, not the clock: who is awake
again after its lease was given away still notes what it does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.reliability.campaign_evidence import KEYS, SEGMENTS, STEP_AFTER, Ended, Entry, Evidence, Run, expected

ACKNOWLEDGED_SHARE = 0.95
SETTLE_SECONDS = 120.0
EXAMPLES = 4


@dataclass(frozen=True)
class Finding:
    """How often a rule was broken, with words to each; `is_broken` where that is too often."""

    rule: str
    count: float
    is_broken: bool
    words: Sequence[str]

    def __str__(self) -> str:
        shown = list(self.words[:EXAMPLES])
        more = len(self.words) - len(shown)
        lines = [
            f"{'FAIL' if self.is_broken else 'ok':5} {self.rule:62} {self.count:g}",
            *(f"      {w}" for w in shown),
        ]
        return "\n".join(lines + ([f"      … and {more} more"] if more > 0 else []))


def judge(evidence: Evidence) -> list[Finding]:
    """One finding for each rule, in the order of a report."""
    per_run: list[tuple[str, Callable[[Run], Iterable[str]]]] = [
        ("runs finished twice", _finished_twice),
        ("acknowledged checkpoints lost or changed", _lost_checkpoints),
        ("writes taken from another attempt than the one they stand under", _strange_writes),
        ("segments run again from before an acknowledged checkpoint", _went_back),
        ("steps run again after their result was acknowledged", _repeated_steps),
        ("segments left out", _left_out),
        ("runs with more repeated segments than attempts that a fault ended", _too_much_repeated),
        ("attempts in a ledger that the database does not know", _unknown_attempts),
        ("outputs or final states that are wrong", lambda run: _wrong_ends(run, evidence.poisoned)),
    ]
    findings = [_finding("acknowledged runs lost", _lost_runs(evidence))]
    findings += [_finding("runs made twice for one idempotency key", _made_twice(evidence))]
    for rule, check in per_run:
        findings.append(_finding(rule, [f"{run.id}: {words}" for run in evidence.runs for words in check(run)]))
    findings.append(_finding("attempts `released` whose code had begun, without a drain", _begun_releases(evidence)))
    findings.append(_finding("attempts lost to a fault that did not touch them", _unexplained(evidence)))
    findings.append(_finding("answers to clients that were wrong", evidence.wrong_answers))
    findings.append(_finding("programs that exited by themselves or did not come back", evidence.exits))
    findings.append(_finding("containers left without a run", evidence.orphans))
    findings.append(_finding("faults that hit nothing", _unhit(evidence)))
    share = evidence.answered / evidence.operations if evidence.operations else 0.0
    findings.append(Finding("share of operations acknowledged (≥ 0.95)", share, share < ACKNOWLEDGED_SHARE, []))
    late = evidence.settle_seconds > SETTLE_SECONDS or any(_is_unfinished(run) for run in evidence.runs)
    left = Counter(run.state for run in evidence.runs if _is_unfinished(run))
    findings.append(
        Finding("seconds until all was final after the faults (≤ 120)", round(evidence.settle_seconds, 1), late,
                [f"unfinished: {dict(left)}"] if left else [])
    )  # fmt: skip
    return findings


def repeated_segments(run: Run) -> int:
    """How often an attempt began in a segment that an earlier one had entered."""
    entered: set[int] = set()
    count = 0
    for entries in run.by_attempt.values():
        segments = _segments(entries)
        count += bool(segments and segments[0] in entered)
        entered |= set(segments)
    return count


def faulty_ends(run: Run) -> list[Ended]:
    return [attempt for attempt in run.attempts if attempt.outcome not in ("completed", "")]


def _finding(rule: str, words: Iterable[str]) -> Finding:
    listed = list(words)
    return Finding(rule, len(listed), bool(listed), listed)


def _lost_runs(evidence: Evidence) -> Iterator[str]:
    known = {run.id for run in evidence.runs}
    for key, run_id in evidence.acknowledged.items():
        if run_id not in known:
            yield f"{key} was acknowledged as {run_id}, which is not there"


def _made_twice(evidence: Evidence) -> Iterator[str]:
    ids: dict[str, set[str]] = {}
    for run in evidence.runs:
        ids.setdefault(run.key, set()).add(run.id)
    for key, run_id in evidence.acknowledged.items():
        ids.setdefault(key, set()).add(run_id)
    yield from (f"{key}: {sorted(found)}" for key, found in ids.items() if len(found) > 1)


def _segments(entries: Sequence[Entry]) -> list[int]:
    return [int(entry.place.removeprefix("enter ")) for entry in entries if entry.place.startswith("enter ")]


def _acknowledged(entries: Sequence[Entry]) -> int:
    """The first segment that must not run before: behind the last checkpoint that returned."""
    returned = [entry.place.removeprefix("returned ") for entry in entries if entry.place.startswith("returned ")]
    return max((int(place) + 1 for place in returned if place.isdigit()), default=0)


def _finished_twice(run: Run) -> Iterator[str]:
    completed = [attempt.number for attempt in run.attempts if attempt.outcome == "completed"]
    if len(completed) > 1:
        yield f"attempts {completed} are completed"
    later = [number for number in run.by_attempt if completed and number > completed[0]]
    if later:
        yield f"attempts {later} ran after attempt {completed[0]} was acknowledged as completed"
    for number, entries in run.by_attempt.items():
        doubled = [place for place, count in Counter(entry.place for entry in entries).items() if count > 1]
        if doubled:
            yield f"attempt {number} did {doubled} more than once"


def _lost_checkpoints(run: Run) -> Iterator[str]:
    saved, _ = expected(run.wanted)
    stored = {entry.key: entry.data for entry in run.stored}
    returned = {entry.place.removeprefix("returned ") for entry in run.entries if entry.place.startswith("returned ")}
    for key in KEYS:
        if key.removeprefix("c") in returned and key not in stored:
            yield f"{key} was acknowledged and is not stored"
        if key in stored and stored[key] != saved[key]:
            yield f"{key} holds {stored[key]}, not {saved[key]}"


def _strange_writes(run: Run) -> Iterator[str]:
    """What stands in the table under an attempt comes after what that attempt has done, or an old one wrote it."""
    for entry in run.stored:
        effect = f"within {entry.key}" if entry.key in STEP_AFTER else f"effect {entry.key.removeprefix('c')}"
        if not _has_done(run, entry.attempt, effect, entry.at):
            yield f"{entry.key} stands under attempt {entry.attempt}, which had not done `{effect}` by then"
    for attempt in run.attempts:
        at = attempt.finished_at or 0.0
        if attempt.outcome == "completed" and not _has_done(run, attempt.number, "end", at):
            yield f"attempt {attempt.number} is completed, and had not come to its end by then"


def _has_done(run: Run, attempt: int, place: str, at: float) -> bool:
    return any(entry.place == place and entry.at <= at for entry in run.by_attempt.get(attempt, []))


def _went_back(run: Run) -> Iterator[str]:
    due = 0
    for number, entries in run.by_attempt.items():
        segments = _segments(entries)
        if segments and min(segments) < due:
            yield f"attempt {number} ran segment {min(segments)}; {due - 1} was acknowledged to an earlier one"
        due = max(due, _acknowledged(entries))


def _repeated_steps(run: Run) -> Iterator[str]:
    done: set[str] = set()
    for number, entries in run.by_attempt.items():
        again = [key for key in STEP_AFTER if key in done and any(e.place == f"within {key}" for e in entries)]
        if again:
            yield f"attempt {number} ran {again}"
        done |= {key for key in STEP_AFTER if any(entry.place == f"returned {key}" for entry in entries)}


def _left_out(run: Run) -> Iterator[str]:
    if run.state != "completed":
        return
    places = {entry.place for entry in run.entries}
    due = [f"effect {place}" for place in range(SEGMENTS)] + [f"within {key}" for key in STEP_AFTER] + ["end"]
    missing = [place for place in due if place not in places]
    if missing:
        yield f"completed without {missing}"
    for number, entries in run.by_attempt.items():
        segments = _segments(entries)
        if segments != list(range(segments[0], segments[-1] + 1)) if segments else False:
            yield f"attempt {number} ran the segments {segments}"


def _too_much_repeated(run: Run) -> Iterator[str]:
    count, ends = repeated_segments(run), faulty_ends(run)
    if count > len(ends):
        yield f"{count} segments repeated, {len(ends)} attempts ended by a fault"


def _unknown_attempts(run: Run) -> Iterator[str]:
    unknown = set(run.by_attempt) - {attempt.number for attempt in run.attempts}
    if unknown:
        yield f"{sorted(unknown)}"


def _wrong_ends(run: Run, poisoned: set[str]) -> Iterator[str]:
    if run.state == "completed":
        _, output = expected(run.wanted)
        if run.output != output:
            yield f"completed with {run.output}, not {output}"
        if [entry.key for entry in run.stored] != KEYS:
            yield f"completed with the checkpoints {[entry.key for entry in run.stored]}"
        if not any(attempt.outcome == "completed" for attempt in run.attempts):
            yield "completed without an attempt that is"
    elif not _is_unfinished(run) and run.id not in poisoned:
        yield f"{run.state} after {[attempt.outcome for attempt in run.attempts]}"


def _is_unfinished(run: Run) -> bool:
    return run.state in ("pending", "running", "retrying", "delayed", "waiting")


def begun_late(run: Run) -> list[Ended]:
    """Released attempts whose code began only then: a frozen worker found an old claim when it was woken."""
    released = [attempt for attempt in run.attempts if attempt.outcome == "released"]
    return [attempt for attempt in released if run.by_attempt.get(attempt.number) and not _had_begun(run, attempt)]


def _had_begun(run: Run, attempt: Ended) -> bool:
    """Whether its code ran before the attempt ended."""
    entries = run.by_attempt.get(attempt.number)
    return bool(entries) and attempt.finished_at is not None and entries[0].at <= attempt.finished_at


def _begun_releases(evidence: Evidence) -> Iterator[str]:
    for run in evidence.runs:
        for attempt in run.attempts:
            is_drained = any(fault.name == "drain" for fault in evidence.causes(run, attempt))
            if attempt.outcome == "released" and _had_begun(run, attempt) and not is_drained:
                yield _story(evidence, run, attempt)


def _unexplained(evidence: Evidence) -> Iterator[str]:
    """A claim that was given back before its code began has cost nothing."""
    for run in evidence.runs:
        for attempt in faulty_ends(run):
            is_free = attempt.outcome == "released" and not _had_begun(run, attempt)
            if not is_free and not evidence.causes(run, attempt):
                yield _story(evidence, run, attempt)


def _story(evidence: Evidence, run: Run, attempt: Ended) -> str:
    """What became of the attempt, with the faults of its time."""
    end = attempt.finished_at or 0.0
    faults = [
        f"{fault.kind} ({_seconds(evidence, fault.begun_at)} to {_seconds(evidence, fault.ended_at)})"
        for fault in evidence.faults
        if fault.begun_at <= end and fault.ended_at >= attempt.claimed_at
    ]
    places = [entry.place for entry in run.by_attempt.get(attempt.number, [])]
    time = f"{_seconds(evidence, attempt.claimed_at)} to {_seconds(evidence, end)}"
    reached = places[-1] if places else "nothing"
    return (
        f"{run.id} attempt {attempt.number} {attempt.outcome}, {time}, reached {reached}; "
        f"meanwhile {', '.join(faults) or 'no fault'}"
    )


def _seconds(evidence: Evidence, at: float) -> str:
    return f"{at - evidence.begun_at:.0f} s"


def _unhit(evidence: Evidence) -> Iterator[str]:
    hit = {fault.kind for fault in evidence.faults if fault.is_hit}
    yield from (kind for kind in evidence.wanted_kinds if kind not in hit)
