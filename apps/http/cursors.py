"""Cursors of lists: opaque texts that only this installation can write, each good for the list that gave it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core import signing

from apps.http.errors import FieldError, RequestInvalid
from apps.storage.ids import parse_public_id, public_id

MAX_CHARACTERS = 1_000
NOT_GIVEN_OUT = "is not a cursor that this list gave out"


def write_cursor(listing: str, *place: str | int | None) -> str:
    """The place as a text for that list."""
    return _signer(listing).sign_object(list(place))


def read_cursor(listing: str, text: str, *types: type | tuple[type, ...], name: str = "cursor") -> Sequence[Any]:
    """The place that `write_cursor` was given for the same list.

    Raises RequestInvalid naming the parameter `name` for everything else: forged, of another list or another form, or
    signed with a secret key that is no longer this installation's.
    """
    try:
        place = _signer(listing).unsign_object(text) if len(text) <= MAX_CHARACTERS else None
    except (signing.BadSignature, ValueError):
        place = None
    if not isinstance(place, list) or len(place) != len(types) or not all(map(isinstance, place, types)):
        raise RequestInvalid.at((FieldError(name, NOT_GIVEN_OUT),))
    return place


def write_run_cursor(listing: str, run_id: UUID) -> str:
    return write_cursor(listing, public_id("run", run_id))


def read_run_cursor(listing: str, text: str) -> UUID:
    """The run that the page ended with; raises RequestInvalid."""
    (place,) = read_cursor(listing, text, str)
    run_id = parse_public_id("run", place)
    if run_id is None:
        raise RequestInvalid.at((FieldError("cursor", NOT_GIVEN_OUT),))
    return run_id


def _signer(listing: str) -> signing.Signer:
    return signing.Signer(salt=f"cursor.{listing}")
