"""The base of all messages, their encoding, and the body of a refusal.

Bodies are MessagePack, so that task values travel as opaque bytes and nothing in them can escape its field.
"""

from typing import TypeVar

import msgspec

T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode


class Message(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=False):
    """Base of all messages; unknown fields are ignored, so that either side may be newer."""


class Problem(Message):
    """The body of every refusal."""

    type: str
    detail: str


def decode(raw: bytes | msgspec.Raw, message: type[T]) -> T:
    """Decodes a message; raises msgspec.ValidationError naming the field, or msgspec.DecodeError."""
    try:
        return msgspec.msgpack.decode(raw, type=message)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
