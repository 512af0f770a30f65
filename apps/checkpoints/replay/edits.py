"""A person's edits of stored data: checked against the names that code restores, encoded as the codec stores data.

Decides nothing about the replay and writes nothing. Data equal to what is stored is not an edit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from trigger_sdk.values import codec

from apps.checkpoints.models import KEY_MAX_LENGTH, Checkpoint
from apps.checkpoints.resume import Choice, SavedEntry, holders
from apps.checkpoints.store import DATA_MAX_BYTES, content_hash
from apps.http.errors import FieldError

PART_BYTES = 8_000_000
"""How much stored data is compared with edits at a time; a single entry may exceed it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """New data of one entry, as it will be stored; `changed` is the names whose values differ."""

    entry: SavedEntry
    data: str
    carried: str | None
    changed: tuple[str, ...] = ()

    @property
    def content_hash(self) -> bytes:
        carried = None if self.carried is None else self.carried.encode()
        return content_hash(self.entry.kind, self.data.encode(), carried, self.entry.binds)


@dataclass(slots=True)
class Edits:
    """The result of the requested edits; `entries` is all reused entries, as they will be."""

    entries: Sequence[SavedEntry]
    edits: list[Edit] = field(default_factory=list)
    refusals: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Refusal(Exception):
    def __init__(self, *errors: FieldError) -> None:
        super().__init__(errors)
        self.errors = errors


def edit_entries(
    run_id: UUID, reused: Sequence[SavedEntry], later: Sequence[SavedEntry], wanted: Mapping[str, Any], choice: Choice
) -> Edits:
    """The edits of the run's data that `wanted` asks for: it maps a key to its complete new data."""
    result = Edits(reused)
    entries = {entry.key: entry for entry in reused}
    later_keys = {entry.key for entry in later}
    points = choice.points
    for key in wanted:
        if key not in entries:
            message = _not_reused(key, reused, is_later=key in later_keys)
            result.refusals.append(FieldError(_path(key), message))
    for entry, data, carried in _stored(run_id, [entries[key] for key in wanted if key in entries]):
        try:
            edit = _edit(entry, wanted[entry.key], data, carried, points.get(entry.key, {}))
        except _Refusal as refusal:
            result.refusals += refusal.errors
        else:
            if edit is not None:
                result.edits.append(edit)
    edited = {edit.entry.key: edit.entry for edit in result.edits}
    result.entries = [edited.get(entry.key, entry) for entry in reused]
    _judge_effect(result)
    return result


def _stored(run_id: UUID, entries: Sequence[SavedEntry]) -> Iterator[tuple[SavedEntry, str, str | None]]:
    """Each entry with its data and carried values, a few megabytes at a time: a run may have thousands of 3 MB each."""
    parts: list[list[SavedEntry]] = []
    room = 0
    for entry in entries:
        if not parts or entry.size_bytes > room:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(entry)
        room -= entry.size_bytes
    for part in parts:
        rows = Checkpoint.objects.filter(run_id=run_id, key__in=[entry.key for entry in part])
        found = {key: (data, carried) for key, data, carried in rows.values_list("key", "data", "carried")}
        yield from ((entry, *found[entry.key]) for entry in part)


def same_value(left: Any, right: Any) -> bool:
    """Whether two values are equal as JSON: 1, 1.0 and true differ, the order of keys does not matter."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def hidden_payload_fields(old: Any, new: Any, entries: Sequence[SavedEntry], choice: Choice) -> list[FieldError]:
    """Edited payload fields that a reused checkpoint restores, so the edit would have no effect."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    held = holders(entries)
    schema = choice.version.payload_schema
    parameters, extra = schema.get("properties", {}), schema.get("x-extra")
    found = []
    for name in {**old, **new}:
        if name in old and name in new and same_value(old[name], new[name]):
            continue
        # A field that is not a parameter reaches the code as an entry of its `**extra`.
        holder, within = (
            (held.get(name), "") if name in parameters or extra is None else (held.get(extra), f" in `{extra}`")
        )
        if holder is not None:
            found.append(
                FieldError(f"payload.{name}", f"payload.{name} is restored{within} from {holder!r}; edit it there")
            )
    return found


def _not_reused(key: str, reused: Sequence[SavedEntry], *, is_later: bool) -> str:
    key = key[:KEY_MAX_LENGTH]
    if not is_later:
        return f"{key!r} is not a checkpoint of this run"
    if not reused:
        return f"{key!r} would be made again: the replay begins at the start"
    return f"{key!r} comes after {reused[-1].key!r}, so it would be made again"


def _edit(entry: SavedEntry, value: Any, data: str, carried: str | None, point: Mapping[str, Any]) -> Edit | None:
    """None if nothing differs; raises _Refusal."""
    text = _encode(entry.key, value)
    value = json.loads(text)
    before_data, before_carried = _read(entry.key, data), _read(entry.key, carried or "{}")
    if not entry.is_checkpoint:
        if same_value(value, before_data):
            return None
        return _sized(entry, text, None, ())
    old, old_carried = _names_of(before_data), _names_of(before_carried)
    if not isinstance(old, dict) or not isinstance(old_carried, dict):
        raise _Refusal(FieldError(_path(entry.key), "what is stored is not an object of names, so no code can read it"))
    given = _names_of(value)
    _refuse_wrong_names(entry, given, old, old_carried, point)
    new = {name: item for name, item in given.items() if name not in old_carried or name in old}
    new_carried = {name: given.get(name, item) if name not in old else item for name, item in old_carried.items()}
    before, after = {**old, **old_carried}, {**new, **new_carried}
    changed = tuple(name for name in after if name not in before or not same_value(before[name], after[name]))
    if not changed:
        return None
    # A name that only the chosen code saves here is bound the way that code would bind it.
    bound = [name for name in point.get("names", ()) if name in new and name not in entry.binds]
    renewed = replace(entry, binds=(*entry.binds, *bound))
    return _sized(renewed, _wrapped(new), _wrapped(new_carried) if new_carried else None, changed)


def _read(key: str, stored: str) -> Any:
    try:
        return json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise _Refusal(FieldError(_path(key), f"what is stored cannot be read: {error}")) from None


def _refuse_wrong_names(
    entry: SavedEntry,
    given: Any,
    old: Mapping[str, Any],
    carried: Mapping[str, Any],
    point: Mapping[str, Any],
) -> None:
    if not isinstance(given, dict):
        names = ", ".join(f"`{name}`" for name in old) or "no names"
        raise _Refusal(FieldError(_path(entry.key), f"the data of a checkpoint is an object; this one has {names}"))
    known = {*old, *carried, *point.get("data_keys", ())}
    missing = [
        FieldError(_path(entry.key, name), "is missing: the data is replaced as a whole")
        for name in old
        if name not in given
    ]
    unknown = [
        FieldError(_path(entry.key, name), f"{entry.key!r} has no `{name}`") for name in given if name not in known
    ]
    if missing or unknown:
        raise _Refusal(*missing, *unknown)


def _sized(entry: SavedEntry, data: str, carried: str | None, changed: tuple[str, ...]) -> Edit:
    size = len(data.encode()) + len((carried or "").encode())
    if size > DATA_MAX_BYTES:
        message = f"{size:,} bytes are over the limit of {DATA_MAX_BYTES:,}"
        raise _Refusal(FieldError(_path(entry.key), message))
    return Edit(replace(entry, size_bytes=size, is_edited=True), data, carried, changed)


def _encode(key: str, value: Any) -> str:
    """The value as stored text; raises _Refusal with the path of what the codec could not read back."""
    try:
        text = _dumps(value)
        # A lone surrogate cannot be encoded unescaped; escaped, the codec finds it and names its path.
        raw = text.encode() if _is_encodable(text) else json.dumps(value).encode()
        # Both ways, as a resume does: a decimal that is not finite is read and then refused.
        codec.check_stored(raw)
    except (codec.CodecError, codec.MalformedJson) as error:
        path, message = getattr(error, "path", "$"), getattr(error, "message", str(error))
        raise _Refusal(FieldError(_path(key) + path[1:], message)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _Refusal(FieldError(_path(key), f"is not JSON: {error}")) from None
    return text


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names_of(value: Any) -> Any:
    """The entries of stored data: if one is called `$type`, the codec has wrapped them."""
    if isinstance(value, dict) and value.get("$type") == "dict" and isinstance(value.get("value"), dict):
        return value["value"]
    return value if not isinstance(value, dict) or "$type" not in value else None


def _wrapped(entries: Mapping[str, Any]) -> str:
    return _dumps({"$type": "dict", "value": entries} if "$type" in entries else entries)


def _path(*parts: str) -> str:
    # A refused key may be as long as the request allows; the answer shows enough of it.
    return ".".join(("checkpoint_data", *(part[:KEY_MAX_LENGTH] for part in parts)))


def _judge_effect(result: Edits) -> None:
    """Refuses edits of names that a later checkpoint overwrites; warns about names that nothing restores."""
    held = holders(result.entries)
    for edit in result.edits:
        for name in edit.changed:
            holder = held.get(name)
            if name in edit.entry.names and holder is not None and holder != edit.entry.key:
                message = f"`{name}` is restored from {holder!r}; edit it there"
                result.refusals.append(FieldError(_path(edit.entry.key, name), message))
            elif name not in edit.entry.names:
                result.warnings.append(
                    f"`{name}` of {edit.entry.key!r} is stored for inspection: no code continues with its new value."
                )
