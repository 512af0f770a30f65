"""Builds what a process gets before it begins: its options and its run's saved values. Pure functions."""

from collections.abc import Sequence

import msgspec
from trigger_sdk.wire import encode_frame

from apps.protocol import Claim, DeploymentReply, StoredCheckpoint, TaskOptions

CHECKPOINT = "checkpoint"


def options_of(deployment: DeploymentReply, claim: Claim) -> TaskOptions:
    """Returns the task's options, with the larger memory limit for a run that has needed it."""
    options = deployment.tasks.get(claim.task, TaskOptions())
    larger = options.retry_out_of_memory_bytes
    if claim.has_run_out_of_memory and larger is not None and larger > options.memory_bytes:
        return msgspec.structs.replace(options, memory_bytes=larger)
    return options


def start_frame(claim: Claim, folder: str | None, *, is_begun: bool) -> bytes:
    return encode_frame(
        "start",
        claim.payload,
        run_id=claim.public_id,
        task=claim.task,
        attempt=claim.attempt,
        max_attempts=claim.max_attempts,
        scope=claim.scope or claim.public_id,
        folder=folder,
        is_begun=is_begun,
    )


def stored_frame(stored: StoredCheckpoint) -> bytes:
    return encode_frame(
        "stored",
        (stored.data or b"") + (stored.carried or b""),
        key=stored.key,
        kind=stored.kind,
        index=stored.index,
        codec=stored.codec,
        binds=stored.binds,
        data_bytes=None if stored.data is None else len(stored.data),
    )


def last_point(stored: Sequence[StoredCheckpoint], before: str | None) -> str | None:
    """Returns the key that the attempt resumes from, as far as these checkpoints tell."""
    return next((entry.key for entry in reversed(stored) if entry.kind == CHECKPOINT), before)
