"""Carries an exception from a forked process to its parent: type, arguments, attributes, causes and traceback.

The two processes share everything that existed before the fork, so a class that `pickle` cannot name (one defined
inside a test) is found again by its place in the tree of exceptions. Frames come back as places in the source, which is
what a traceback shows; their local variables stay behind.
"""

import importlib
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, NamedTuple

CHAIN_MAX = 20
FRAMES_MAX = 200
_ENTRY_UNITS, _NO_COLUMNS = 8, 13
_SDK = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Place(NamedTuple):
    file: str
    function: str
    first_line: int
    line: int


@dataclass(slots=True)
class Raised:
    """An exception in a form that can always be pickled."""

    whole: bytes | None
    """The pickled exception, if unpickling gives the same again."""
    kinds: list[tuple[str, str, int]]
    """Module, qualified name and id of its class and the classes above; the first one that the parent has is used."""
    text: str
    arguments: list[bytes]
    attributes: dict[str, bytes]
    places: list[Place]
    members: "list[Raised]" = field(default_factory=list)
    cause: "Raised | None" = None
    context: "Raised | None" = None
    hides_context: bool = False


def pack(error: BaseException, depth: int = 0) -> Raised:
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    packed = Raised(
        whole=_whole(error),
        kinds=[(kind.__module__, kind.__qualname__, id(kind)) for kind in type(error).__mro__[:-1]],
        text=_text(error),
        arguments=[_pickled(argument) for argument in error.args],
        attributes={name: _pickled(value) for name, value in vars(error).items() if name != "trigger_result"},
        places=_places(error.__traceback__),
        hides_context=error.__suppress_context__,
    )
    if depth < CHAIN_MAX:
        packed.members = [pack(one, depth + 1) for one in inner]
        packed.cause = pack(error.__cause__, depth + 1) if error.__cause__ is not None else None
        packed.context = pack(error.__context__, depth + 1) if error.__context__ is not None else None
    return packed


def unpack(packed: Raised) -> BaseException:
    error = _rebuilt(packed)
    error.__cause__ = unpack(packed.cause) if packed.cause is not None else None
    error.__context__ = unpack(packed.context) if packed.context is not None else None
    error.__suppress_context__ = packed.hides_context
    return error.with_traceback(_traceback(packed.places))


def _whole(error: BaseException) -> bytes | None:
    """None for a group: its members would come back without their tracebacks."""
    if isinstance(error, BaseExceptionGroup):
        return None
    try:
        data = pickle.dumps(error)
        again = pickle.loads(data)  # noqa: S301 - made in the line above
    except Exception:  # an exception's own code may raise anything when it is copied
        return None
    is_same = type(again) is type(error) and _text(again) == _text(error) and set(vars(again)) == set(vars(error))
    return data if is_same else None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # any class may define __str__
        return f"<no message: str() raised {type(failure).__name__}>"


def _pickled(value: Any) -> bytes:
    try:
        data = pickle.dumps(value)
        pickle.loads(data)  # noqa: S301 - made in the line above
    except Exception:  # any object may be attached to an exception
        return pickle.dumps(_shown(value))
    return data


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # any class may define __repr__
        return object.__repr__(value)


def _rebuilt(packed: Raised) -> BaseException:
    if packed.whole is not None:
        return pickle.loads(packed.whole)  # type: ignore[no-any-return]  # noqa: S301 - from our own child
    arguments = [pickle.loads(argument) for argument in packed.arguments]  # noqa: S301
    kind = _kind_of(packed)
    if issubclass(kind, BaseExceptionGroup):
        members = [unpack(one) for one in packed.members]
        error: BaseException = kind(arguments[0] if arguments else "", members)
    else:
        error = kind.__new__(kind, *arguments)  # without __init__, which may have other parameters
        error.args = tuple(arguments)
    for name, value in packed.attributes.items():
        error.__dict__[name] = pickle.loads(value)  # noqa: S301
    return error


def _kind_of(packed: Raised) -> type[BaseException]:
    """The exception's own class; if only the child had it, one with its name below the nearest class that is here."""
    for number, (module, name, address) in enumerate(packed.kinds):
        kind = _imported(module, name) or _defined(module, name, address)
        if kind is None:
            continue
        if number == 0:
            return kind
        return _made(packed, kind)
    raise AssertionError("every exception's class is below BaseException")


def _made(packed: Raised, base: type[BaseException]) -> type[BaseException]:
    module, name, _ = packed.kinds[0]
    return type(name, (base,), {"__module__": module, "__qualname__": name, "__str__": lambda _: packed.text})


def _imported(module: str, name: str) -> type[BaseException] | None:
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _defined(module: str, name: str, address: int) -> type[BaseException] | None:
    """A class inside a function, which only its parent class knows. Several may have the same name."""
    found = [kind for kind in _below(BaseException) if (kind.__module__, kind.__qualname__) == (module, name)]
    return next((kind for kind in found if id(kind) == address), found[-1] if found else None)


def _below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _places(trace: TracebackType | None) -> list[Place]:
    """Without this package's frames above the task's, unless there are no others."""
    places = [
        Place(frame.f_code.co_filename, frame.f_code.co_name, frame.f_code.co_firstlineno, line)
        for frame, line in traceback.walk_tb(trace)
    ]
    first = next((number for number, place in enumerate(places) if not place.file.startswith(_SDK)), 0)
    return places[first:][-FRAMES_MAX:]


def _traceback(places: list[Place]) -> TracebackType | None:
    trace: TracebackType | None = None
    for place in reversed(places):
        trace = TracebackType(trace, _frame(place), 0, place.line)
    return trace


def _frame(place: Place) -> FrameType:
    """A frame that has been at this place; the interpreter makes them only for code that runs."""
    code = compile("here()", place.file, "exec")
    units = len(code.co_code) // 2
    code = code.replace(
        co_name=place.function,
        co_firstlineno=place.first_line,
        co_linetable=_table(place.line - place.first_line, units),
    )
    frames: list[FrameType] = []
    exec(code, {"here": lambda: frames.append(sys._getframe(1)), "__file__": place.file})  # noqa: S102, SLF001
    return frames[0]


def _table(delta: int, units: int) -> bytes:
    """The locations of code that is on one line and has no columns (CPython's InternalDocs/code_objects.md)."""
    table = bytearray()
    while units > 0:
        count = min(units, _ENTRY_UNITS)
        table.append(0x80 | _NO_COLUMNS << 3 | count - 1)
        rest = delta << 1 if delta >= 0 else -delta << 1 | 1
        while rest >= 64:
            table.append(0x40 | rest & 63)
            rest >>= 6
        table.append(rest)
        delta = 0
        units -= count
    return bytes(table)
