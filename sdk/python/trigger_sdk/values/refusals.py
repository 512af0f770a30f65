"""The words for a value that cannot be stored: what it is, and what to write instead. Each advice works as it reads."""

import enum
import io
from collections import abc
from typing import Any

from trigger_sdk.values.custom import hint_for

_BASES: tuple[tuple[type, str], ...] = (
    (dict, "dict"), (list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset"), (str, "str"),
    (int, "int"), (float, "float"), (bytes, "bytes"),
)  # fmt: skip
_VIEWS = (range, abc.KeysView, abc.ValuesView, abc.ItemsView, abc.Iterator)


def unsupported(value: Any) -> str:
    """Why a value of this type cannot be stored, and the way out."""
    kind = type(value)
    shown = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    article = "an" if shown[0] in "aeiouAEIOU" else "a"
    return f"{article} {shown} cannot be stored{_advice(value, kind)}"


def _advice(value: Any, kind: type) -> str:
    if instead := hint_for(kind):
        return f"; {instead}"
    if isinstance(value, enum.Enum):
        return f" unless an annotation names it: store its `.value`, or {_annotate(kind)}"
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "model_validate") or hasattr(kind, "_fields"):
        return f" unless an annotation names it: {_annotate(kind)}"
    for base, name in _BASES:
        if isinstance(value, base):
            return f"; convert it with {_conversion(kind, base, name)}"
    if isinstance(value, io.IOBase):
        return "; save its path or content, and open it again where it is needed"
    if isinstance(value, _VIEWS):
        return "; convert it with list(…)"
    if isinstance(value, (bytearray, memoryview)):
        return "; convert it with bytes(…)"
    if isinstance(value, abc.Mapping):
        return "; convert it with dict(…)"
    if callable(value) or isinstance(value, abc.Awaitable):
        return "; save what it is made from, and make it again where it is needed"
    return "; save what it is made from, or make its type storable with trigger_sdk.codec.register(…)"


def _annotate(kind: type) -> str:
    """The two places that count, everywhere a value is saved."""
    name = kind.__name__
    return (
        f"annotate the local name that is saved, also in front of a step (`name: {name} = …`), or what the function "
        f"returns (`-> {name}`)"
    )


def _conversion(kind: type, base: type, name: str) -> str:
    """A call that gives exactly the base type: a text of a class with its own `__str__` may show something else."""
    special = {str: "__str__", int: "__int__", float: "__float__", bytes: "__bytes__"}.get(base, "")
    is_special = bool(special) and getattr(kind, special) is not getattr(base, special)
    return f"{name}.{special}(…)" if is_special else f"{name}(…)"
