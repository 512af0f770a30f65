"""The manifest of a deployment: what an SDK says about its tasks, checked in full before any of it is stored. Pure.

It comes from a process that runs a stranger's code, so nothing in it is trusted. Options follow the rules of the
Python SDK itself (`trigger_sdk.options`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trigger_sdk.errors import TaskOptionError
from trigger_sdk.options import TaskOptions, check_task_id
from trigger_sdk.values import codec

from apps.http.errors import FieldError
from apps.runs.errors import DeploymentRefused
from apps.runs.tasks.payload_schemas import SchemaRefused, check_schema

TASK_SET_MAX_LENGTH = 128
TASK_LIMIT = 1_000
TASK_MAX_BYTES = 1_000_000
"""The whole of one task."""
OPTIONS_MAX_BYTES = 16_000
FILE_MAX_LENGTH = 512
LINE_LIMIT = 2**31 - 1
POINT_LIMIT = 1_000
NAME_LIMIT = 1_000
"""Names per resume point."""
NAME_MAX_LENGTH = 200
"""Of a checkpoint's key, and of a name that it restores."""
SEGMENT_MAX_LENGTH = 64
ERRORS_SHOWN = 20


def read_manifest(task_set: str, manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Its tasks. Raises DeploymentRefused; paths look like `tasks[2].options.ttl_seconds`, or `file:line:column` for
    what the inspection itself found."""
    found = list(_of_inspection(manifest.get("errors") or []))
    if not 0 < len(task_set) <= TASK_SET_MAX_LENGTH or not task_set.isprintable():
        found.append(FieldError("name", f"must have 1 to {TASK_SET_MAX_LENGTH} printable characters"))
    tasks = manifest.get("tasks")
    if not isinstance(tasks, list) or len(tasks) > TASK_LIMIT:
        found.append(FieldError("tasks", f"must be a list of at most {TASK_LIMIT:,} tasks"))
        tasks = []
    elif not tasks and not found:
        found.append(FieldError(task_set, "no task was found: decorate a function with @task(id=…)"))
    for number, task in enumerate(tasks):
        found += _of_task(f"tasks[{number}]", task)
        if len(found) >= ERRORS_SHOWN:
            break
    if not found:
        found += _of_ids(tasks)
    if found:
        raise DeploymentRefused(f"{found[0].path}: {found[0].message}", tuple(found[:ERRORS_SHOWN]))
    return tasks


def task_place(task: Mapping[str, Any]) -> str:
    """Where an editor can find the task."""
    return f"{task['file']}:{task['line']}"


def _of_inspection(errors: Any) -> Iterator[FieldError]:
    rows = errors if isinstance(errors, list) else [errors]
    for row in rows[:ERRORS_SHOWN]:
        if not isinstance(row, Mapping):
            yield FieldError("errors", "must be a list of objects")
            continue
        place = ":".join(str(row.get(name, "?"))[:FILE_MAX_LENGTH] for name in ("file", "line", "column"))
        yield FieldError(place, f"{row.get('message')!s:.2000} [{row.get('code')!s:.100}]")


def _of_task(path: str, task: Any) -> Iterator[FieldError]:
    if not isinstance(task, Mapping):
        yield FieldError(path, "must be an object")
        return
    if (problem := _storage_problem(task)) is not None:
        yield FieldError(path + problem[0].removeprefix("$"), problem[1])
        return
    wrong = [
        FieldError(f"{path}.{name}{inner}", message)
        for name, check in CHECKS.items()
        for inner, message in check(task.get(name), task)
    ]
    is_placed = not any(error.path in (f"{path}.id", f"{path}.file", f"{path}.line") for error in wrong)
    hint = f" (task {task['id']!r}, {task_place(task)})" if is_placed else ""
    yield from (FieldError(error.path, error.message + hint) for error in wrong)


def _of_ids(tasks: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for number, task in enumerate(tasks):
        if task["id"] in seen:
            yield FieldError(f"tasks[{number}].id", f"the task id {task['id']!r} is used twice ({task_place(task)})")
        seen.add(task["id"])


def _storage_problem(task: Mapping[str, Any]) -> tuple[str, str] | None:
    """The path and what is wrong there, if the database or another language would read the task differently."""
    try:
        codec.parse_payload(json.dumps(task).encode(), max_depth=codec.MAX_DEPTH, max_bytes=TASK_MAX_BYTES)
    except codec.CodecError as error:
        return error.path, error.message
    except (TypeError, ValueError, RecursionError) as error:
        return "$", f"is not JSON: {error}"
    return None


# Each gives the path inside the field, and what is wrong there.
Found = Iterator[tuple[str, str]]


def _id(value: Any, task: Mapping[str, Any]) -> Found:
    try:
        check_task_id(value)
    except TaskOptionError as error:
        yield "", error.message


def _options(value: Any, task: Mapping[str, Any]) -> Found:
    if not isinstance(value, Mapping):
        yield "", "must be an object"
    elif (size := len(json.dumps(value))) > OPTIONS_MAX_BYTES:
        yield "", f"has {size:,} bytes; the limit is {OPTIONS_MAX_BYTES:,}"
    else:
        try:
            # A queue that is left out has the name of the task, whose id is checked separately.
            TaskOptions.from_json("task", value)
        except TaskOptionError as error:
            yield f".{error.option}", error.message


def _schema(value: Any, task: Mapping[str, Any]) -> Found:
    try:
        check_schema(value)
    except SchemaRefused as error:
        yield "", str(error)


def _points(value: Any, task: Mapping[str, Any]) -> Found:
    if not isinstance(value, list) or len(value) > POINT_LIMIT:
        yield "", f"must be a list of at most {POINT_LIMIT:,} resume points"
        return
    for number, point in enumerate(value):
        if not isinstance(point, Mapping):
            yield f"[{number}]", "must be an object"
            continue
        yield from _text(f"[{number}].key", point.get("key"), NAME_MAX_LENGTH)
        yield from _line_number(f"[{number}].line", point.get("line"))
        for name in ("names", "data_keys", "needs", "again"):
            yield from _texts(f"[{number}].{name}", point.get(name, []), NAME_LIMIT, NAME_MAX_LENGTH)


def _segments(value: Any, task: Mapping[str, Any]) -> Found:
    """May be left out, be empty, or have one more than there are resume points."""
    yield from _texts("", [] if value is None else value, POINT_LIMIT + 1, SEGMENT_MAX_LENGTH)
    points = task.get("resume_points")
    if value and isinstance(value, list) and isinstance(points, list) and len(value) != len(points) + 1:
        yield "", f"must be empty or have one more than the {len(points):,} resume points, not {len(value):,}"


def _file(value: Any, task: Mapping[str, Any]) -> Found:
    yield from _text("", value, FILE_MAX_LENGTH)


def _line(value: Any, task: Mapping[str, Any]) -> Found:
    yield from _line_number("", value)


def _line_number(path: str, value: Any) -> Found:
    if type(value) is not int or not 0 <= value <= LINE_LIMIT:
        yield path, f"must be a whole number from 0 to {LINE_LIMIT:,}"


def _text(path: str, value: Any, longest: int) -> Found:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        yield path, f"must be a text of 1 to {longest:,} characters"


def _texts(path: str, value: Any, most: int, longest: int) -> Found:
    if not isinstance(value, list) or len(value) > most:
        yield path, f"must be a list of at most {most:,} texts"
        return
    for number, text in enumerate(value):
        yield from _text(f"{path}[{number}]", text, longest)


CHECKS: Mapping[str, Callable[[Any, Mapping[str, Any]], Found]] = {
    "id": _id,
    "file": _file,
    "line": _line,
    "options": _options,
    "payload_schema": _schema,
    "resume_points": _points,
    "segments": _segments,
}
