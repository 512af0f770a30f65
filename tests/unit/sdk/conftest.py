"""Gives each test an empty ledger, and removes the tasks it registers afterwards."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from trigger_sdk.tasks import registry

from tests.databases import SESSION_DIR
from tests.unit.sdk import step_world
from tests.unit.sdk.sources import effects, load_module


@pytest.fixture(autouse=True)
def kept_registry() -> Iterator[None]:
    before = dict(registry)
    effects.clear()
    step_world.calls.clear()
    step_world.failing.clear()
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture(autouse=True)
def kept_modules() -> Iterator[None]:
    """A check in this process imports a folder's modules and packages: the next test may have others of their names."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        if any(str(place).startswith(str(SESSION_DIR)) for place in places):
            del sys.modules[name]


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Imports source text as a separate module."""
    return lambda source: load_module(tmp_path, source)
