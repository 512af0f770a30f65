"""What a replay would do, before anybody decides: what it reuses, what runs again, what its code and keys would be.

Follows the plan of `plan.py` and writes nothing. What would be refused is listed, not raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apps.checkpoints.replay.code_changes import CodeChanges
from apps.checkpoints.replay.plan import ReplayPlan, ReplayRequest, payload_errors, plan_replay
from apps.checkpoints.resume import Choice, resume_key
from apps.http.errors import FieldError
from apps.runs.models import Deployment
from apps.runs.states import state_words


@dataclass(frozen=True, slots=True)
class ReusedEntry:
    """What the replay brings along; `is_code_changed` is None where the source of either side is unknown."""

    key: str
    kind: str
    index: int
    size_bytes: int
    is_edited: bool
    is_code_changed: bool | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The code between two resume points of the chosen deployment; None: from the start, to the end."""

    from_key: str | None
    to_key: str | None
    is_reused: bool
    is_changed: bool | None


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """`original_deployment` is None for a run that never started; `runs_again` are keys that are made anew."""

    deployment: Deployment
    original_deployment: Deployment | None
    newest_deployment: Deployment
    is_other_deployment: bool
    resumes_after: str | None
    reused: Sequence[ReusedEntry]
    runs_again: Sequence[str]
    segments: Sequence[Segment]
    uses_original_keys: bool
    keys_reason: str
    concurrency_key: str
    original_concurrency_key: str
    warnings: Sequence[str]
    refusals: Sequence[FieldError]


def preview(request: ReplayRequest) -> ReplayPreview:
    """Raises RunNotFound, CheckpointNotFound and DeploymentNotFound; every other reason is in `refusals`."""
    plan = plan_replay(request)
    entries = [*plan.reused, *plan.later]
    changes = CodeChanges(plan.original, plan.choice, entries)
    reused = [
        ReusedEntry(
            key=entry.key,
            kind=entry.kind,
            index=entry.index,
            size_bytes=entry.size_bytes,
            is_edited=entry.is_edited,
            is_code_changed=changes.of_entry(entry),
        )
        for entry in plan.reused
    ]
    choice = plan.choice
    return ReplayPreview(
        deployment=choice.deployment,
        original_deployment=choice.original,
        newest_deployment=choice.newest,
        is_other_deployment=choice.is_other,
        resumes_after=resume_key(plan.reused),
        reused=reused,
        runs_again=[entry.key for entry in plan.later],
        segments=segments_of(plan, changes),
        uses_original_keys=plan.uses_original_keys,
        keys_reason=_keys_reason(plan, request),
        concurrency_key=plan.concurrency_key,
        original_concurrency_key=plan.original.concurrency_key,
        warnings=list(_warnings(plan, reused)),
        refusals=[*plan.refusals, *payload_errors(plan)],
    )


def segments_of(plan: ReplayPlan, changes: CodeChanges) -> list[Segment]:
    """The chosen code in source order; what stands before the point that it continues after is reused."""
    keys: list[str] = list(plan.choice.points)
    resumes_after = resume_key(plan.reused)
    reused_count = keys.index(resumes_after) + 1 if resumes_after in keys else 0
    made = {entry.key: entry for entry in plan.reused if entry.is_checkpoint}
    bounds: list[tuple[str | None, str | None]] = list(zip([None, *keys], [*keys, None], strict=True))
    return [
        Segment(
            from_key=after,
            to_key=until,
            is_reused=place < reused_count,
            is_changed=changes.of_segment(after, until, made.get(until or "") if place < reused_count else None),
        )
        for place, (after, until) in enumerate(bounds)
    ]


def _keys_reason(plan: ReplayPlan, request: ReplayRequest) -> str:
    if plan.uses_original_keys:
        return "It uses the original's idempotency keys, since nothing is edited: no effect under such a key repeats."
    if request.has_new_keys:
        return "It has idempotency keys of its own, as asked for."
    edited = [("payload", plan.payload_json is not None), ("data", bool(plan.edits.edits))]
    what = " and ".join(name for name, is_edited in edited if is_edited)
    if not what:
        return "It has idempotency keys of its own, since what was edited in the original is made anew."
    return f"It has idempotency keys of its own, since the {what} {'are' if ' and ' in what else 'is'} edited."


def _warnings(plan: ReplayPlan, reused: Sequence[ReusedEntry]) -> Iterator[str]:
    original = plan.original
    if not original.is_final:
        yield f"The original is {state_words(original.state)} and may do the same work meanwhile."
    if not plan.uses_original_keys and original.started_at is not None:
        yield "Effects such as charges and mails may repeat: other services see new idempotency keys."
    yield from changed_code_warnings(plan.choice, [entry.key for entry in reused if entry.is_code_changed])
    yield from plan.edits.warnings


def changed_code_warnings(choice: Choice, keys: Sequence[str]) -> Iterator[str]:
    """One sentence where data is reused whose code is another one now."""
    if keys:
        shown = ", ".join(map(repr, keys[:3])) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        yield f"The code that made {shown} is another one in {choice.deployment}; its old data is reused."
