"""Single values of an annotated type: from the JSON of a payload, or as the codec has read them."""

import enum
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from trigger_sdk.errors import PayloadError
from trigger_sdk.values.strict_json import path_of
from trigger_sdk.values.texts import TEXT_KINDS, TextKind, json_equal, json_form, reason_of

Path = tuple[str | int, ...]


def exact(value: Any, kind: type, word: str, path: Path) -> Any:
    """The value, which must be of exactly that type; `word` continues "must be …" if it is not."""
    if type(value) is not kind:
        refuse(value, word, path)
    return value


def refuse(value: Any, word: str, path: Path, reason: str = "") -> typing.NoReturn:
    """Raises PayloadError: `must be WORD, not VALUE: REASON`."""
    raise PayloadError(path_of(list(path)), f"must be {word}, not {shown(value)}{': ' + reason if reason else ''}")


def shown(value: Any) -> str:
    """A value in a message: single ones as they are, but short."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return f"{value!r:.60}"
    if type(value) is dict:
        return "an object"
    return "an array" if type(value) is list else f"a {type(value).__name__}"


def _to_int(value: Any, path: Path) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    return int(exact(value, int, "an integer", path))


def _to_float(value: Any, path: Path) -> float:
    if type(value) is int:
        if abs(value) > sys.float_info.max:
            refuse(value, "a number in the range of a float", path)
        return float(value)
    return float(exact(value, float, "a number", path))


def _from_text(kind: type, text_kind: TextKind) -> Callable[[Any, Path], Any]:
    def convert_text(value: Any, path: Path) -> Any:
        if type(value) is kind:
            return value
        if type(value) is not str:
            refuse(value, text_kind.word, path)
        try:
            return text_kind.read(value)
        except (ValueError, ArithmeticError) as error:
            refuse(value, text_kind.word, path, reason_of(error, value).removeprefix(": "))

    return convert_text


def _to_decimal(read: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
    # A JSON number is read by its digits: the float of 0.1 is another number.
    return lambda value, path: read(str(value) if type(value) in (int, float) else value, path)


def _scalars() -> dict[Any, Callable[[Any, Path], Any]]:
    import datetime
    import decimal
    import uuid

    classes = {
        "bytes": bytes, "datetime": datetime.datetime, "date": datetime.date, "time": datetime.time,
        "timedelta": datetime.timedelta, "uuid": uuid.UUID, "decimal": decimal.Decimal,
    }  # fmt: skip
    texts = {kind: _from_text(kind, TEXT_KINDS[name]) for name, kind in classes.items()}
    return {
        str: lambda value, path: exact(value, str, "a string", path),
        bool: lambda value, path: exact(value, bool, "true or false", path),
        types.NoneType: lambda value, path: exact(value, types.NoneType, "null", path),
        int: _to_int,
        float: _to_float,
        **texts,
        decimal.Decimal: _to_decimal(texts[decimal.Decimal]),
    }


class _Scalars(dict[Any, Callable[[Any, Path], Any]]):
    """Filled on first look-up: every container imports this package, but few need decimal and uuid."""

    def get(self, key: Any, default: Any = None) -> Any:
        if not self:
            self.update(_scalars())
        return super().get(key, default)


SCALARS = _Scalars()
"""By class: what turns a value at a path into one of that class, or raises PayloadError."""


def is_path(kind: Any) -> bool:
    """Whether a class is one of pathlib, which loads more than most tasks need."""
    return isinstance(kind, type) and hasattr(kind, "__fspath__") and kind.__module__.partition(".")[0] == "pathlib"


def to_path(value: Any, kind: Any, path: Path) -> Any:
    if isinstance(value, kind):
        return value
    return kind(exact(value, str, TEXT_KINDS["path"].word, path))


def to_enum(value: Any, kind: type[enum.Enum], path: Path) -> Any:
    """The member with this value, as it is or in its JSON form."""
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    for member in kind:
        if is_json_of(value, member.value):
            return member
    refuse(value, "one of " + ", ".join(repr(member.value) for member in kind), path)


def to_literal(value: Any, choices: tuple[Any, ...], path: Path) -> Any:
    for choice in choices:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if (type(plain) is type(value) and plain == value) or is_json_of(value, plain):
            return choice
    refuse(value, "one of " + ", ".join(repr(getattr(choice, "value", choice)) for choice in choices), path)


def is_json_of(value: Any, plain: Any) -> bool:
    """Whether the value is what stands in JSON for the plain one."""
    try:
        return json_equal(value, json_form(plain))
    except ValueError:
        return False
