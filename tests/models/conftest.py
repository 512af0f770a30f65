"""Searches that `make prove` went through and that nothing has changed since belong to the long tier.

With the long tier all of them run, and those that pass as a whole are recorded.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.models.proved import HERE, record, unchanged_modules

_collected: Counter[Path] = Counter()
_passed: Counter[Path] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_long = config.getoption("--long")
    unchanged = unchanged_modules()
    for item in items:
        if item.path.parent == HERE:
            _collected[item.path] += 1
            if is_long or item.path in unchanged:
                item.add_marker(pytest.mark.long)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if item.path.parent == HERE and call.when == "call" and call.excinfo is None:
        _passed[item.path] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    # A part of a module, or one process of several, says nothing about the whole.
    is_part = any("::" in argument for argument in config.args) or hasattr(config, "workerinput")
    if config.getoption("--long") and not is_part:
        record({path for path, count in _collected.items() if _passed[path] == count})
