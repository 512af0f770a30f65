"""What a person typed into the replay form: kept as typed, read as a request, complaints sorted by field.

Only JSON is judged here; whether the replay can be is for `plan.py` and `preview.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.http import QueryDict
from trigger_sdk.values import codec

from apps.checkpoints.replay.edits import same_value
from apps.checkpoints.replay.plan import UNCHANGED, ReplayRequest
from apps.checkpoints.resume import ORIGINAL
from apps.http.errors import FieldError, PayloadInvalid
from apps.runs.trigger.payloads import load_stored

FROM_FIELD, DEPLOYMENT_FIELD, PAYLOAD_FIELD, FORM = "from", "deployment", "payload", ""
DATA_PREFIX = "data-"
DATA_PATH = "checkpoint_data."


@dataclass(frozen=True, slots=True)
class FieldNote:
    """A complaint about a field: `where` inside its value, or at `line` and `column` (from 1) of what is no JSON."""

    message: str
    where: str = ""
    line: int = 0
    column: int = 0


Notes = dict[str, list[FieldNote]]


class _NotJson(Exception):
    def __init__(self, note: FieldNote) -> None:
        super().__init__(note)
        self.note = note


@dataclass(frozen=True, slots=True)
class TypedReplay:
    """The fields of the form; `payload` is None where its editor was not opened, `data` is by index."""

    from_key: str = ""
    deployment: str = ORIGINAL
    payload: str | None = None
    data: Mapping[int, str] = field(default_factory=dict)
    has_new_keys: bool = False

    @classmethod
    def read(cls, posted: QueryDict) -> TypedReplay:
        data = {}
        for name in posted:
            index = name.removeprefix(DATA_PREFIX)
            if name != index and index.isdecimal() and len(index) < 9:
                data[int(index)] = _plain(posted.get(name, ""))
        return cls(
            from_key=_plain(posted.get("from_checkpoint", "")),
            deployment=posted.get("deployment") or ORIGINAL,
            payload=_plain(posted.get("payload", "")) if "payload" in posted else None,
            data=data,
            has_new_keys=bool(posted.get("new_keys")),
        )

    def request(self, run_id: UUID, keys: Mapping[int, str], stored_payload: str) -> tuple[ReplayRequest, Notes]:
        """The request, without the fields that are no JSON: those are in the notes. `keys` are the run's, by index."""
        notes: Notes = {}
        payload: Any = UNCHANGED
        if self.payload is not None:
            try:
                payload = _read_json(self.payload)
            except _NotJson as error:
                notes[PAYLOAD_FIELD] = [error.note]
            else:
                # The editor is filled in from the start, so an untouched one must not count as an edit.
                payload = UNCHANGED if _is_same(payload, stored_payload) else payload
        data = {}
        for index, text in self.data.items():
            if index not in keys:
                notes.setdefault(FORM, []).append(FieldNote(f"This run has no checkpoint at the place {index}."))
                continue
            try:
                data[keys[index]] = _read_json(text)
            except _NotJson as error:
                notes[data_field_name(index)] = [error.note]
        request = ReplayRequest(
            run_id=run_id,
            from_checkpoint=self.from_key or None,
            payload=payload,
            checkpoint_data=data,
            deployment=self.deployment,
            has_new_keys=self.has_new_keys,
        )
        return request, notes


def data_field_name(index: int) -> str:
    return f"{DATA_PREFIX}{index}"


def notes_of(errors: Iterable[FieldError], indices: Mapping[str, int]) -> Notes:
    """Refusals by the field that they belong to; `indices` are the places of the run's keys."""
    notes: Notes = {}
    for error in errors:
        name, where = _field_of(error.path, indices)
        is_said = not where or error.message.startswith(error.path) or f"`{where}`" in error.message
        notes.setdefault(name, []).append(FieldNote(error.message, "" if is_said else where))
    return notes


def _field_of(path: str, indices: Mapping[str, int]) -> tuple[str, str]:
    if (rest := _below(path, "payload")) is not None:
        return PAYLOAD_FIELD, rest
    if path == "deployment":
        return DEPLOYMENT_FIELD, ""
    inner = path.removeprefix(DATA_PATH)
    # Keys may hold dots: the longest one that opens the path is meant.
    for key in sorted(indices, key=len, reverse=True) if inner != path else ():
        if (rest := _below(inner, key)) is not None:
            return data_field_name(indices[key]), rest
    return FORM, path


def _below(path: str, root: str) -> str | None:
    if path == root:
        return ""
    return path[len(root) :].removeprefix(".") if path.startswith((f"{root}.", f"{root}[")) else None


def _is_same(value: Any, stored: str) -> bool:
    try:
        return same_value(value, load_stored(stored))
    except PayloadInvalid:
        return False


def _read_json(text: str) -> Any:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        return codec.parse_payload(raw, max_bytes=len(raw))
    except codec.MalformedJson as error:
        raise _NotJson(FieldNote(f"Not JSON: {error.message}", line=error.line, column=error.column)) from None
    except codec.CodecError as error:
        raise _NotJson(FieldNote(error.message, where=error.path.removeprefix("$").removeprefix("."))) from None


def _plain(text: str) -> str:
    """Browsers send line breaks as CRLF, in keys too."""
    return text.replace("\r\n", "\n")
