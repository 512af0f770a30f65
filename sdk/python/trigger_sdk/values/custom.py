"""Types that the codec does not know by itself: those that task code registers, and ready ones of some libraries.

A ready one is read from `trigger_sdk.values.ready` when a value or a stored form first needs it, so that no library is
imported that the task does not use.
"""

import importlib
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from trigger_sdk.errors import CodecError, UnsupportedType
from trigger_sdk.values.forms import ValueRefused

READY = {"numpy": "arrays", "pandas": "pandas_frames", "polars": "polars_frames"}
"""By the library's name: the module whose `register_types` registers its types."""
_NAME = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)+\Z", re.ASCII)
_NAME_MAX_LENGTH = 100

Kind = TypeVar("Kind")


class Custom(NamedTuple):
    """How values of one type are stored."""

    kind: type
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_by_kind: dict[type, Custom] = {}
_by_name: dict[str, Custom] = {}
_hints: dict[str, dict[str, str]] = {}


def register(kind: type[Kind], *, encode: Callable[[Kind], Any], decode: Callable[[Any], Kind], name: str) -> None:
    """Makes values of exactly this type storable, at any depth of what a checkpoint, step or task saves.

    `encode` turns a value into one that the codec already stores (a dict, a list, a text, bytes …); `decode` gets it
    back equal and makes the value again. `name` marks it in the stored text, such as `shop.Money`: it contains a dot
    and must never change, because stored values are found by it. Call this where the task's module is imported.

    Raises ValueError for a name of another form or of another type, TypeError for what is not a class.
    """
    if not isinstance(kind, type):
        raise TypeError(f"codec.register(…) takes a class, not {kind!r}")
    if not isinstance(name, str) or len(name) > _NAME_MAX_LENGTH or not _NAME.match(name):
        raise ValueError(
            f"name={name!r}: must be a name with a dot, such as 'shop.{kind.__name__}', of at most {_NAME_MAX_LENGTH} "
            "letters, digits, - and _"
        )
    if name.partition(".")[0] in READY and kind.__module__.partition(".")[0] not in READY:
        raise ValueError(f"name={name!r}: names of {name.partition('.')[0]} are taken; choose another first part")
    known = _by_name.get(name)
    if known is not None and _place(known.kind) != _place(kind) and _is_in_use(known.kind):
        raise ValueError(f"name={name!r}: is already that of {_place(known.kind)}")
    entry = Custom(kind, name, encode, decode)
    former = _by_kind.get(kind)
    if former is not None and former.name != name:
        _by_name[former.name] = former
    _by_kind[kind] = _by_name[name] = entry


def hint(library: str, hints: dict[str, str]) -> None:
    """What to write instead of types of a library that are not storable, by the names of the types."""
    _hints[library] = hints


def custom_of(kind: type) -> Custom | None:
    """How values of this type are stored; None if nobody has said so."""
    found = _by_kind.get(kind)
    if found is None and _load_ready(kind.__module__):
        found = _by_kind.get(kind)
    return found


def hint_for(kind: type) -> str:
    """What to write instead of a value of this type; empty if nothing is known."""
    return _hints.get(kind.__module__.partition(".")[0], {}).get(kind.__name__, "")


def lower_custom(custom: Custom, value: Any) -> Any:
    """What the type's `encode` makes of a value; ValueRefused if it fails."""
    try:
        return custom.encode(value)
    except ValueRefused:
        raise
    except Exception as error:
        message = f"the codec {custom.name!r} cannot write it: {type(error).__name__}: {error}"
        raise ValueRefused(UnsupportedType, message) from error


def is_custom_name(name: Any) -> bool:
    """Whether a `$type` can be that of a registered type; all others belong to the codec itself."""
    return isinstance(name, str) and len(name) <= _NAME_MAX_LENGTH and _NAME.match(name) is not None


def lift_custom(name: str, inner: Any) -> Any:
    """The value of a stored form; ValueRefused if its type is not registered or refuses it."""
    custom = _by_name.get(name)
    if custom is None:
        _load_ready(name, is_stored=True)
        custom = _by_name.get(name)
    if custom is None:
        message = (
            f"the type {name!r} is unknown: call trigger_sdk.codec.register(…, name={name!r}) where the task's module "
            "is imported"
        )
        raise ValueRefused(CodecError, message)
    try:
        return custom.decode(inner)
    except ValueRefused:
        raise
    except Exception as error:
        raise ValueRefused(CodecError, f"the codec {name!r} cannot read it: {type(error).__name__}: {error}") from error


def _load_ready(name: str, *, is_stored: bool = False) -> bool:
    """Registers the ready types of the library that a module's or a form's name begins with."""
    library = name.partition(".")[0]
    if library not in READY:
        return False
    try:
        importlib.import_module(f"trigger_sdk.values.ready.{READY[library]}").register_types()
    except ImportError as error:
        if not is_stored:
            return False
        message = f"{library} is needed to read this value, but cannot be imported: {error}"
        raise ValueRefused(CodecError, message) from None
    return True


def _is_in_use(kind: type) -> bool:
    """Whether a class is still that of its module; the check imports many folders in one process, one after another."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
