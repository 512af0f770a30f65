"""A replay's preview in the words and lengths of the form. Pure: `preview.py` has the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.checkpoints.models import Kind
from apps.checkpoints.replay.preview import ReplayPreview, Segment

KEYS_SHOWN = 8
SEGMENTS_SHOWN = 16


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """A stretch of the code. `change` is empty where nothing is to be said of it; a left-out stretch has a count."""

    origin: str
    end: str
    is_reused: bool
    change: str = ""
    is_alarming: bool = False
    left_out_count: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What the replay would do."""

    deployment: str
    resumes_after: str
    reused: str
    segments: Sequence[SegmentLine]
    runs_again: Sequence[str]
    more_count: int
    uses_original_keys: bool
    keys_reason: str
    concurrency_key: str
    original_concurrency_key: str
    """Empty where it is the same."""
    warnings: Sequence[str]


def effect_of(shown: ReplayPreview) -> Effect:
    return Effect(
        deployment=str(shown.deployment),
        resumes_after=shown.resumes_after or "",
        reused=_counted([entry.kind for entry in shown.reused]),
        segments=_both_ends([_segment(one, is_other=shown.is_other_deployment) for one in shown.segments]),
        runs_again=shown.runs_again[:KEYS_SHOWN],
        more_count=max(0, len(shown.runs_again) - KEYS_SHOWN),
        uses_original_keys=shown.uses_original_keys,
        keys_reason=shown.keys_reason,
        concurrency_key=shown.concurrency_key,
        original_concurrency_key=(
            shown.original_concurrency_key if shown.original_concurrency_key != shown.concurrency_key else ""
        ),
        warnings=shown.warnings,
    )


def _counted(kinds: Sequence[str]) -> str:
    """`2 checkpoints and 1,240 steps`; empty for none."""
    counts = ((kinds.count(Kind.CHECKPOINT), "checkpoint"), (kinds.count(Kind.STEP), "step"))
    return " and ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in counts if count)


def _segment(segment: Segment, *, is_other: bool) -> SegmentLine:
    change, is_alarming = "", False
    if segment.is_changed:
        change, is_alarming = ("code changed since", True) if segment.is_reused else ("new code", False)
    elif segment.is_changed is None and is_other:
        change = "not known whether its code changed"
    return SegmentLine(segment.from_key or "start", segment.to_key or "end", segment.is_reused, change, is_alarming)


def _both_ends(lines: list[SegmentLine]) -> list[SegmentLine]:
    """The first and the last of many."""
    if len(lines) <= SEGMENTS_SHOWN:
        return lines
    half = SEGMENTS_SHOWN // 2
    left_out = SegmentLine("", "", lines[half].is_reused, left_out_count=len(lines) - 2 * half)
    return [*lines[:half], left_out, *lines[-half:]]
