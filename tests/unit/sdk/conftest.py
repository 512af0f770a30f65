"""Gives each test an empty ledger, and removes the tasks it registers afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from trigger_sdk.tasks import registry

from tests.unit.sdk import step_world
from tests.unit.sdk.sources import effects, forget_modules, load_module


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
def kept_modules(tmp_path: Path) -> Iterator[None]:
    """A check in this process imports a folder's modules and packages: the next test may have others of their names."""
    yield
    forget_modules(tmp_path)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Imports source text as a separate module."""
    return lambda source: load_module(tmp_path, source)
