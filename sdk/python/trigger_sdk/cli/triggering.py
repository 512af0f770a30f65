"""The arguments of `trigger run`: what may be asked for, in the words and units of a command line."""

import argparse
import re
from datetime import datetime
from typing import Any

from trigger_sdk.cli.errors import UsageError
from trigger_sdk.cli.values import read_json
from trigger_sdk.times import TimeRefused, read_time
from trigger_sdk.triggering import TriggerOptions

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)?\Z")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task")
    parser.add_argument("--payload", default="{}", help="JSON, @FILE, or - for standard input; default {}")
    parser.add_argument("--queue")
    parser.add_argument("--priority", type=int, help="-100 to 100, higher goes first")
    parser.add_argument("--concurrency-key", metavar="KEY")
    parser.add_argument("--delay", metavar="TIME", help="due after 90s, 10m, 2h or 1d")
    parser.add_argument("--run-at", metavar="WHEN", help="due then: 2026-12-01T08:00:00+01:00")
    parser.add_argument("--ttl", metavar="TIME", help="expires if it has not started so long after it is due")
    parser.add_argument("--idempotency-key", metavar="KEY", help="repeats with it get the same run")
    parser.add_argument("--idempotency-key-ttl", metavar="TIME", help="how long the key is kept; default 30d")
    parser.add_argument("--tag", action="append", metavar="TAG", help="may stand several times")
    parser.add_argument("--max-attempts", type=int, metavar="N")
    parser.add_argument("--metadata", metavar="JSON", help="an object to be shown on the run: JSON or @FILE")
    parser.add_argument("--traceparent", help="the W3C trace context that the run belongs to")


def trigger_options(options: argparse.Namespace) -> TriggerOptions:
    """What was given; UsageError names the argument that cannot be read. Limits are the server's."""
    return {
        "queue": options.queue,
        "priority": options.priority,
        "concurrency_key": options.concurrency_key,
        "delay": _seconds("--delay", options.delay),
        "run_at": _moment("--run-at", options.run_at),
        "ttl": _seconds("--ttl", options.ttl),
        "idempotency_key": options.idempotency_key,
        "idempotency_key_ttl": _seconds("--idempotency-key-ttl", options.idempotency_key_ttl),
        "tags": options.tag,
        "max_attempts": options.max_attempts,
        "metadata": _metadata(options.metadata),
        "traceparent": options.traceparent,
    }


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    match = _DURATION.match(text)
    if match is None:
        raise UsageError(f"{option} {text}: a time such as 90s, 10m, 2h or 1d is needed")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"] or "s"]


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return read_time(text)
    except TimeRefused as refused:
        raise UsageError(f"{option} {refused}") from None


def _metadata(argument: str | None) -> dict[str, Any] | None:
    if argument is None:
        return None
    value = read_json(argument, "--metadata", is_input_allowed=False)
    if not isinstance(value, dict):
        raise UsageError("--metadata: a JSON object is needed")
    return value
