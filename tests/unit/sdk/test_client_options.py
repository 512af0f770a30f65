"""The one list of trigger options, and what the client and the command line make of it."""

import argparse
import typing
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.cli.triggering import add_arguments, trigger_options
from trigger_sdk.client.triggering import trigger_body
from trigger_sdk.trigger_options import (
    TRIGGER_OPTIONS,
    Duration,
    Integer,
    Moment,
    Object,
    Pattern,
    Text,
    Texts,
    TriggerOptions,
)

PYTHON_TYPES: dict[type, Any] = {
    Integer: int,
    Text: str,
    Pattern: str,
    Texts: Collection[str],
    Duration: float | timedelta,
    Moment: datetime | str,
    Object: Mapping[str, Any],
}

GIVEN: dict[str, tuple[list[str], Any]] = {
    "queue": (["--queue", "slow"], "slow"),
    "priority": (["--priority", "-7"], -7),
    "concurrency_key": (["--concurrency-key", "c1"], "c1"),
    "delay": (["--delay", "10m"], 600.0),
    "run_at": (["--run-at", "2026-12-01T08:00:00+01:00"], datetime(2026, 12, 1, 7, tzinfo=UTC)),
    "ttl": (["--ttl", "1.5h"], 5400.0),
    "idempotency_key": (["--idempotency-key", "k"], "k"),
    "idempotency_key_ttl": (["--idempotency-key-ttl", "250ms"], 0.25),
    "tags": (["--tag", "a", "--tag", "b"], ["a", "b"]),
    "max_attempts": (["--max-attempts", "4"], 4),
    "metadata": (["--metadata", '{"a": 1}'], {"a": 1}),
    "traceparent": (["--traceparent", "00-1"], "00-1"),
}
"""Each option as the command line takes it, and what the client gets."""


def read(*arguments: str) -> TriggerOptions:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return trigger_options(parser.parse_args(["process-order", *arguments]))


def test_the_type_of_every_option_is_that_of_its_kind() -> None:
    hints = typing.get_type_hints(TriggerOptions)

    assert hints == {name: PYTHON_TYPES[type(option.kind)] | None for name, option in TRIGGER_OPTIONS.items()}


@pytest.mark.parametrize("name", TRIGGER_OPTIONS)
def test_the_command_line_takes_every_option(name: str) -> None:
    arguments, value = GIVEN[name]

    assert read(*arguments)[name] == value  # type: ignore[literal-required]


def test_what_the_command_line_does_not_get_is_not_sent() -> None:
    assert trigger_body(None, read())["options"] == {}


def test_the_command_line_sends_what_it_gets_in_the_servers_names() -> None:
    everything = [argument for arguments, _ in GIVEN.values() for argument in arguments]

    sent = trigger_body(None, read(*everything))["options"]

    assert list(sent) == [option.wire_name for option in TRIGGER_OPTIONS.values()]
    assert (sent["delay_seconds"], sent["ttl_seconds"]) == (600.0, 5400.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delay", "soon"], "--delay soon: must be a time such as 90s, 10m, 2h or 1d"),
        (["--idempotency-key-ttl", "1w"], "--idempotency-key-ttl 1w: must be a time such as"),
        (["--run-at", "2026-12-01T08:00:00"], "--run-at must be an RFC 3339 time"),
        (["--metadata", "[1]"], "--metadata: must be a JSON object"),
        (["--metadata", "{"], "--metadata is not JSON"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_argument(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=r"^--") as refused:
        read(*arguments)

    assert message in str(refused.value)


def test_metadata_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text('{"source": "import"}')

    assert read("--metadata", f"@{tmp_path / 'seen.json'}")["metadata"] == {"source": "import"}
