"""What is wrong with a payload, in the words of the task's own reader: made from the errors of the validator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from trigger_sdk.values.scalars import shown
from trigger_sdk.values.strict_json import path_of
from trigger_sdk.values.texts import either

from apps.runs.tasks.payload_texts import MARK

WORDS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
OPTIONS_SHOWN = 20
Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """`path` is the place in the payload; `message` continues it: `is missing`, `must be …`."""

    path: Path
    message: str

    @property
    def place(self) -> str:
        return "payload" + path_of(list(self.path))[1:]

    @property
    def sentence(self) -> str:
        continues = self.message.split(" ", 1)[0] in ("is", "must", "has")
        return f"{self.place}{' ' if continues else ': '}{self.message}"


def problems_of(errors: Iterable[Any], payload: Any, parameters: Sequence[str], *, limit: int) -> list[Problem]:
    """The first problems, one for each place. `parameters` are the names that the payload may have."""
    words = _Words(payload, parameters)
    found: dict[Path, Problem] = {}
    for error in errors:
        for problem in words.of(error):
            # A pattern says the same as the reader of the text, in other words.
            if problem.path not in found or error.kind.name == MARK:
                found[problem.path] = problem
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


class _Words:
    """Turns the errors of one payload into problems."""

    def __init__(self, payload: Any, parameters: Sequence[str]) -> None:
        self._payload = payload
        self._parameters = parameters

    def of(self, error: Any) -> Iterator[Problem]:
        """The problems of one error: one, but for several names that are not known."""
        path, detail = tuple(error.instance_path), error.kind.as_dict()
        match error.kind.name:
            case "required":
                yield Problem((*path, detail["property"]), "is missing")
            case "additionalProperties" | "unevaluatedProperties":
                yield from (self._unknown(path, name) for name in detail["unexpected"])
            case "falseSchema":
                yield self._too_much(path, error)
            case "anyOf" | "oneOf" if any(detail["context"]):
                yield self._closest(path, [list(option) for option in detail["context"]])
            case _:
                yield Problem(path, _single(error, detail) or error.message)

    def _unknown(self, path: Path, name: str) -> Problem:
        if path:
            return Problem((*path, name), "is not known here")
        return Problem((name,), f"is not a parameter of the task (it has {', '.join(self._parameters) or 'none'})")

    def _too_much(self, path: Path, error: Any) -> Problem:
        """For an object that may have no entries the error has the path of the object itself."""
        if error.schema_path[-1:] != ["additionalProperties"]:
            return Problem(path, "is one item too many")
        found = self._payload
        for step in path:
            found = found[step]
        return self._unknown(path, next(iter(found)))

    def _closest(self, path: Path, options: list[list[Any]]) -> Problem:
        """The problem of the option that fits furthest; of all options if none got inside the value."""
        others = [option for option in options if not any(error.kind.name == "const" for error in option)]
        if not others:  # each has a name of its own for its kind, and the value has none of them
            options = [[error for error in option if error.kind.name == "const"] for option in options]
        problems = [problem for option in others or options for error in option[:1] for problem in self.of(error)]
        deepest = max(problems, key=lambda problem: len(problem.path))
        alike = [problem.message for problem in problems if problem.path == deepest.path]
        if len(deepest.path) > len(path) and others:
            return deepest
        return Problem(deepest.path, either(alike))


def _single(error: Any, detail: dict[str, Any]) -> str | None:
    value = error.instance
    match error.kind.name:
        case "type":
            wanted = " or ".join(WORDS.get(name, name) for name in detail["types"])
        case "enum":
            options = detail["options"]
            more = ", …" if len(options) > OPTIONS_SHOWN else ""
            wanted = "one of " + ", ".join(repr(option) for option in options[:OPTIONS_SHOWN]) + more
        case "const":
            wanted = repr(detail["expected_value"])
        case "minItems":
            return f"must have at least {detail['limit']} items, not {len(value)}"
        case _:
            return None
    return f"must be {wanted}, not {shown(value)}"
