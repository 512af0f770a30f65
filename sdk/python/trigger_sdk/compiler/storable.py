"""Classes whose values can never be stored, as far as that can be known before a task runs."""

import sys
import types
from typing import Any

from trigger_sdk.values.custom import custom_of

_NEVER = frozenset({
    "_asyncio", "_io", "_random", "_socket", "_sqlite3", "_ssl", "_thread", "asyncio", "concurrent", "contextlib",
    "csv", "ftplib", "http", "imaplib", "io", "itertools", "logging", "multiprocessing", "queue", "random", "select",
    "selectors", "shelve", "smtplib", "socket", "sqlite3", "ssl", "subprocess", "tarfile", "tempfile", "threading",
    "weakref", "zipfile",
})  # fmt: skip
"""Modules of the standard library whose classes hold something of the process."""
_NEVER_BUILTIN = (
    BaseException, enumerate, filter, map, memoryview, range, reversed, type, zip, types.FunctionType,
    types.GeneratorType, types.ModuleType, types.CoroutineType,
)  # fmt: skip
_STORED = frozenset({"builtins", "datetime", "decimal", "uuid", "pathlib", "collections", "zoneinfo", "typing"})
_FEATURES = ("__dataclass_fields__", "model_validate", "_fields", "__members__", "__total__")
"""Attributes of dataclasses, models, named tuples, enumerations and typed dicts."""


def is_never_stored(kind: Any, *, is_exact: bool = True) -> bool:
    """Whether no value of a class can be stored. Unless the class `is_exact`, values may be of a subclass, so only
    classes that hold something of the process count."""
    if not isinstance(kind, type) or custom_of(kind) is not None:
        return False
    if issubclass(kind, _NEVER_BUILTIN):
        return True
    module = kind.__module__.partition(".")[0]
    if module in _NEVER:
        return True
    is_plain = module not in _STORED and module not in sys.stdlib_module_names
    return is_exact and is_plain and not any(hasattr(kind, feature) for feature in _FEATURES) and _is_own(kind)


def holds_something(function: Any) -> bool:
    """Whether a function is one of those modules': what it makes, if it is no plain data, holds something."""
    module = getattr(function, "__module__", None)
    return not isinstance(function, type) and isinstance(module, str) and module.partition(".")[0] in _NEVER


def is_made_by(kind: type) -> bool:
    """Whether calling the class surely gives a value of exactly that class."""
    return type(kind) is type and not any("__new__" in vars(base) for base in kind.__mro__[:-1])


def _is_own(kind: type) -> bool:
    """Whether the class extends nothing that the codec, or a library's own codec, may know."""
    return all(base is object or base.__module__ == kind.__module__ for base in kind.__mro__)
