"""What a replay will be, judged before anything is written: where it begins, its edits, its payload, its code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from trigger_sdk.values import codec

from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.replay.edits import Edits, edit_entries, hidden_payload_fields, same_value
from apps.checkpoints.resume import (
    KEYS_SHOWN,
    ORIGINAL,
    Choice,
    SavedEntry,
    choose_deployment,
    resume_refusals,
    saved_entries,
)
from apps.checkpoints.store import STORED_MAX_BYTES
from apps.http.errors import FieldError, PayloadInvalid, Refusal
from apps.runs.models import Run, RunValue, TaskVersion
from apps.runs.reads import find_run
from apps.runs.tasks.terms import concurrency_key_at, key_path_of
from apps.runs.trigger.payloads import encode_payload, load_stored, validate_payload


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Any = _Unchanged()
"""Stands for the original's payload where no other is given."""


@dataclass(frozen=True)
class ReplayRequest:
    """What a person asks for. `from_checkpoint` is a key of the run, checkpoint or step; None: from the start.

    `checkpoint_data` replaces the data of reused keys whole, in the form in which it is stored. `deployment` is
    "original", "latest" or a public id.
    """

    run_id: UUID
    from_checkpoint: str | None = None
    payload: Any = UNCHANGED
    checkpoint_data: Mapping[str, Any] = field(default_factory=dict)
    deployment: str = ORIGINAL
    has_new_keys: bool = False


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What the replay will be; with `refusals` or a `payload_refusal` it will not."""

    original: Run
    choice: Choice
    edits: Edits
    later: Sequence[SavedEntry]
    payload_json: str | None
    concurrency_key: str
    uses_original_keys: bool
    refusals: tuple[FieldError, ...]
    payload_refusal: Refusal | None

    @property
    def reused(self) -> Sequence[SavedEntry]:
        return self.edits.entries


def plan_replay(request: ReplayRequest) -> ReplayPlan:
    """Reads the run and judges the request; writes nothing.

    Raises RunNotFound, CheckpointNotFound and DeploymentNotFound; whatever else is wrong is in the plan.
    """
    original = find_run(request.run_id, Run.objects.with_deployments())
    entries = saved_entries(original.id)
    count = 0 if request.from_checkpoint is None else 1 + _place(original, entries, request.from_checkpoint)
    choice = choose_deployment(original, request.deployment)
    edits = edit_entries(original.id, entries[:count], entries[count:], request.checkpoint_data, choice)
    refusals = [*choice.refusals, *resume_refusals(choice, edits.entries), *edits.refusals]
    payload, payload_refusal = NewPayload(None, original.concurrency_key), None
    try:
        payload = _new_payload(original, request, choice, edits.entries)
    except Refusal as error:
        payload_refusal = error
    refusals += payload.hidden
    refusals += _size_refusals(edits)
    later = entries[count:]
    # What an earlier edit had replaced is made anew, so the original's effects were others.
    is_edited = bool(edits.edits) or payload.text is not None or any(entry.is_edited for entry in later)
    return ReplayPlan(
        original=original,
        choice=choice,
        edits=edits,
        later=later,
        payload_json=payload.text,
        concurrency_key=payload.concurrency_key,
        uses_original_keys=not is_edited and not request.has_new_keys,
        refusals=tuple(refusals),
        payload_refusal=payload_refusal,
    )


def _size_refusals(edits: Edits) -> list[FieldError]:
    """A replay stores what it reuses, edits included, and is bounded as any run."""
    size = sum(entry.size_bytes for entry in edits.entries)
    if size <= STORED_MAX_BYTES:
        return []
    message = f"what is reused has {size:,} bytes; a run may store {STORED_MAX_BYTES:,}"
    return [FieldError("checkpoint_data" if edits.edits else "from_checkpoint", message)]


def payload_errors(plan: ReplayPlan) -> tuple[FieldError, ...]:
    """Why the payload is refused; one that is too large has no field of its own."""
    refusal = plan.payload_refusal
    if refusal is None:
        return ()
    return refusal.errors or (FieldError("payload", refusal.detail),)


def _place(original: Run, entries: Sequence[SavedEntry], key: str) -> int:
    for place, entry in enumerate(entries):
        if entry.key == key:
            return place
    shown = ", ".join(repr(entry.key) for entry in entries[:KEYS_SHOWN]) + (", …" if len(entries) > KEYS_SHOWN else "")
    there = f"It has {shown}." if entries else "It has none."
    raise CheckpointNotFound(f"{original.public_id} has no checkpoint {key[:200]!r}. {there}")


@dataclass(frozen=True, slots=True)
class NewPayload:
    """`text` is None for the original's; `hidden` are the edited fields that checkpoints would hide."""

    text: str | None
    concurrency_key: str
    hidden: Sequence[FieldError] = ()


def _new_payload(original: Run, request: ReplayRequest, choice: Choice, entries: Sequence[SavedEntry]) -> NewPayload:
    """Raises PayloadInvalid and PayloadTooLarge, also where the chosen code no longer takes the original's payload."""
    is_given = request.payload is not UNCHANGED
    if not is_given and not choice.is_other and choice.original is not None:
        return NewPayload(None, original.concurrency_key)
    stored = load_stored(RunValue.objects.only("payload").get(run_id=original.id).payload)
    if not is_given:
        validate_payload(stored, _schema(choice))
        return NewPayload(None, _concurrency_key(original, choice, stored, stored))
    if request.payload is None:
        message = "is null: leave it out for the original's, or send {} for none"
        raise PayloadInvalid(f"payload {message}", (FieldError("payload", message),))
    text = encode_payload(request.payload)
    value = codec.parse_payload(text.encode())
    validate_payload(value, _schema(choice))
    key = _concurrency_key(original, choice, stored, value)
    if same_value(stored, value):
        return NewPayload(None, key)
    return NewPayload(text, key, hidden_payload_fields(stored, value, entries, choice))


def _concurrency_key(original: Run, choice: Choice, stored: Any, value: Any) -> str:
    """The key that the chosen code takes from the payload; the original's where that was not taken from its payload.

    Raises PayloadInvalid naming the field that is missing.
    """
    origin = choice.original or choice.newest
    version = choice.version
    if origin.pk != choice.deployment.pk:
        version = TaskVersion.objects.only("options").get(deployment=origin, task_id=original.task_id)
    try:
        is_derived = concurrency_key_at(key_path_of(version.options), stored) == original.concurrency_key
    except PayloadInvalid:
        is_derived = False
    return concurrency_key_at(key_path_of(choice.version.options), value) if is_derived else original.concurrency_key


def _schema(choice: Choice) -> str:
    return json.dumps(choice.version.payload_schema)
