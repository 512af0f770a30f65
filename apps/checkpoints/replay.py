"""Replay: a new run with the payload of an earlier one, from the start or after one of its checkpoints.

The original never changes and may still be running. Edits of payload or data are not made here.
"""

from uuid import UUID

from django.db import transaction

from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.runs.broadcast import announce_runs
from apps.runs.errors import RunNotFound
from apps.runs.models import Run
from apps.runs.statements import statement

COPIED_OPTIONS = ("task_id", "deployment_id", "queue", "priority", "concurrency_key", "max_attempts")
KEYS_SHOWN = 20

COPY_CHECKPOINTS = statement(__file__, "copy_checkpoints")
COPY_PAYLOAD = statement(__file__, "copy_payload")


def replay(*, run_id: UUID, from_checkpoint: str | None) -> Run:
    """A new pending run on the original's deployment that starts after that checkpoint; None: from the start.

    Raises RunNotFound, and CheckpointNotFound naming the keys that there are.
    """
    original = Run.objects.filter(id=run_id).first()
    if original is None:
        raise RunNotFound("There is no such run.")
    with transaction.atomic():
        start = None if from_checkpoint is None else _checkpoint(original, from_checkpoint)
        copy = Run(
            replay_of=original,
            replay_from="" if start is None else start.key,
            **{name: getattr(original, name) for name in COPIED_OPTIONS},
        )
        copy.save(force_insert=True)
        COPY_PAYLOAD.run(original_id=original.id, replay_id=copy.id)
        if start is not None:
            COPY_CHECKPOINTS.run(original_id=original.id, replay_id=copy.id, last_index=start.index)
        announce_runs([copy.id], is_pending=True)
    return copy


def _checkpoint(original: Run, key: str) -> Checkpoint:
    rows = Checkpoint.objects.filter(run=original)
    found = None if "\0" in key else rows.filter(key=key).only("key", "index").first()
    if found is not None:
        return found
    keys = list(rows.order_by("index").values_list("key", flat=True)[: KEYS_SHOWN + 1])
    shown = ", ".join(map(repr, keys[:KEYS_SHOWN])) + (", …" if len(keys) > KEYS_SHOWN else "")
    there = f"It has {shown}." if keys else "It has none."
    raise CheckpointNotFound(f"{original.public_id} has no checkpoint {key!r}. {there}")
