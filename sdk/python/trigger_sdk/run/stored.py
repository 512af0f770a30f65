"""What earlier attempts of a run have saved, and where the run continues from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trigger_sdk.errors import CodecError, ResumeRefused
from trigger_sdk.values import codec

CHECKPOINT, STEP = "checkpoint", "step"
"""The kinds of what a run stores. Only a checkpoint is a place to resume from."""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint or the result of a step as it was saved, by version `codec` of the codec.

    `binds` are the entries of `data` that are names, `carried` holds changed names. `data` is None for a step whose
    result must be loaded.
    """

    key: str
    index: int
    data: bytes | None
    binds: Sequence[str]
    carried: bytes | None = None
    kind: str = CHECKPOINT
    codec: int = codec.VERSION


class Resume(NamedTuple):
    """Where a run continues, and the decoded values of all names that its checkpoints hold."""

    key: str
    names: Mapping[str, Any]


def resume_of(stored: Sequence[StoredCheckpoint]) -> Resume | None:
    """The last checkpoint by index, with the union of what all of them hold; later ones win. None if there are none.

    Raises ResumeRefused for data of a codec that this version does not know, steps included.
    """
    for entry in stored:
        if entry.codec != codec.VERSION:
            message = f"{entry.key!r} was stored by version {entry.codec} of the codec; this SDK reads {codec.VERSION}"
            raise ResumeRefused(message, key=entry.key)
    ordered = sorted((entry for entry in stored if entry.kind == CHECKPOINT), key=lambda entry: entry.index)
    names: dict[str, Any] = {}
    # Latest first: what a later checkpoint holds need not be read from an earlier one.
    for checkpoint in reversed(ordered):
        if checkpoint.carried is not None:
            names = {**codec.decode(checkpoint.carried), **names}
        wanted = [name for name in checkpoint.binds if name not in names]
        data = codec.decode(checkpoint.data or b"") if wanted else {}
        for name in wanted:
            if name not in data:
                raise CodecError("$", f"the checkpoint {checkpoint.key!r} binds `{name}` but does not hold it")
            names[name] = data[name]
    return Resume(ordered[-1].key, names) if ordered else None
