"""Task modules written by tests (real files, because the compiler reads them), and the ledger of their effects."""

import copy
import importlib.util
import itertools
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

NAMES = "from trigger_sdk import task, checkpoint, log"
_numbers = itertools.count()
effects: list[Any] = []
"""What the tasks of a test did, in order; emptied before each test."""


def effect(value: Any) -> Any:
    # A copy, because a task may change the value later.
    effects.append(copy.deepcopy(value))
    return value


def load_module(folder: Path, source: str, first_line: str = NAMES) -> ModuleType:
    """Writes the text below a line that imports the SDK's names, and imports the module."""
    path = folder / f"tasks_{next(_numbers)}.py"
    path.write_text(first_line + "\n" + textwrap.dedent(source).lstrip("\n"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forget_modules(folder: Path) -> None:
    """Removes the modules and packages that were imported from below a folder."""
    for name, module in list(sys.modules.items()):
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        if any(str(place).startswith(str(folder)) for place in places):
            del sys.modules[name]
