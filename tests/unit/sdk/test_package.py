"""What importing the SDK loads and does not load: every container pays for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trigger_sdk
import trigger_sdk.client

SDK = Path(trigger_sdk.__file__).parents[1]
SLOW = (
    "argparse",
    "asyncio",
    "decimal",
    "hashlib",
    "http",
    "logging",
    "pathlib",
    "random",
    "socket",
    "trigger_sdk.agent",
    "trigger_sdk.cli",
    "trigger_sdk.client",
    "trigger_sdk.testing",
    "urllib",
    "uuid",
    "zoneinfo",
)
"""Each takes a millisecond or more to load, and few runs need any of them."""

LOADED = "import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"


def loaded_with(module: str) -> set[str]:
    command = [sys.executable, "-S", "-c", LOADED.format(module=module)]
    done = subprocess.run(command, env={"PYTHONPATH": str(SDK)}, capture_output=True, check=True, text=True)
    return set(json.loads(done.stdout))


def test_tasks_load_nothing_that_only_callers_need() -> None:
    assert loaded_with("trigger_sdk") & set(SLOW) == set()


def test_the_client_loads_asyncio_only_for_its_async_part() -> None:
    assert "asyncio" not in loaded_with("trigger_sdk.client")
    assert "asyncio" in loaded_with("trigger_sdk.client.async_client")


@pytest.mark.parametrize("package", [trigger_sdk, trigger_sdk.client])
def test_every_public_name_is_there(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]

    assert [name for name in names if getattr(package, name, None) is None] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'trigger_sdk' has no attribute 'Klient'"):
        trigger_sdk.Klient  # noqa: B018
