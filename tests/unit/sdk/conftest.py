"""Tasks that a test registers are gone after it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.sdk.sources import load_module
from trigger_sdk.tasks import registry


@pytest.fixture(autouse=True)
def kept_registry() -> Iterator[None]:
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Imports source text as a module of its own."""
    return lambda source: load_module(tmp_path, source)
