"""Checks the frame headers that the worker acts on: a hostile task can send anything."""

from typing import Annotated, Any, TypeVar

import msgspec
from trigger_sdk.wire import BODY_MAX_BYTES, Frame, WireError

Whole = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Sequence = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class CheckpointHeader(msgspec.Struct):
    """The header of a `checkpoint` frame; the first `data_bytes` of the body are the data, the rest is carried."""

    sequence: Sequence
    key: str
    kind: str
    codec: Whole
    data_bytes: Annotated[int, msgspec.Meta(ge=0, le=BODY_MAX_BYTES)]
    binds: list[str] = []
    duration_seconds: float | None = None


class LoadHeader(msgspec.Struct):
    """The header of a `load` frame."""

    sequence: Sequence
    index: Whole


Header = TypeVar("Header", bound=msgspec.Struct)


def header_of(frame: Frame, kind: type[Header]) -> Header:
    """Parses the frame's header as `kind`; raises WireError naming the field."""
    header: dict[str, Any] = frame.header
    try:
        return msgspec.convert(header, kind)
    except msgspec.ValidationError as error:
        raise WireError(f"a {frame.type} frame: {error}") from None
