"""List cursors: opaque texts that only this installation can write, each valid only for the list that issued it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core import signing

from apps.http.errors import FieldError, RequestInvalid
from apps.storage.ids import parse_public_id, public_id

MAX_CHARACTERS = 1_000
NOT_GIVEN_OUT = "is not a cursor that this list issued"


def write_cursor(listing: str, *place: str | int | None) -> str:
    """The place as a cursor for that list."""
    return _signer(listing).sign_object(list(place))


def read_cursor(listing: str, text: str, *types: type | tuple[type, ...], name: str = "cursor") -> Sequence[Any]:
    """The place that was passed to `write_cursor` for the same list.

    Raises RequestInvalid naming the parameter `name` for anything else: a cursor that is forged, from another list, in
    another form, or signed with a secret key that is no longer this installation's.
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
    """The last run on the page before; raises RequestInvalid."""
    (place,) = read_cursor(listing, text, str)
    run_id = parse_public_id("run", place)
    if run_id is None:
        raise RequestInvalid.at((FieldError("cursor", NOT_GIVEN_OUT),))
    return run_id


def _signer(listing: str) -> signing.Signer:
    return signing.Signer(salt=f"cursor.{listing}")
