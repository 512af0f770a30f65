"""`trigger queues`, `trigger queue …` and `trigger task …`: what is waiting where, and what is set by hand."""

import argparse
from typing import Any

from trigger_sdk.cli.display import Display, duration_text, printable
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.client import Client

NONE = "none"
LIMITS = {
    "--max-concurrency": "runs at the same time (per key, if the task has keys)",
    "--max-concurrency-total": "runs at the same time across all keys",
    "--rate-limit": "starts, as 100/m",
    "--rate-limit-per-key": "starts per key, such as 5/s",
    "--max-depth": "pending and delayed runs; further triggers are refused",
}
QUEUE_LIMITS = ("--max-concurrency", "--rate-limit", "--max-depth")
TASK_LIMITS = ("--max-concurrency", "--max-concurrency-total", "--rate-limit", "--rate-limit-per-key")


def add_parsers(choices: Any, shared: argparse.ArgumentParser) -> None:
    listed = choices.add_parser("queues", parents=[shared], help="queues with their waiting and running runs")
    listed.set_defaults(command=queues)
    queue = choices.add_parser("queue", help="show, pause, resume or limit a queue")
    task = choices.add_parser("task", help="show, pause, resume or limit a task, or lift its cool-down")
    _add_verbs(queue.add_subparsers(required=True, metavar="VERB"), shared, "queue", QUEUE_LIMITS)
    verbs = task.add_subparsers(required=True, metavar="VERB")
    _add_verbs(verbs, shared, "task", TASK_LIMITS)
    lift = verbs.add_parser("lift-cool-down", parents=[shared], help="forget the failures that slow the task down")
    lift.add_argument("name", metavar="TASK")
    lift.set_defaults(command=lift_cooldown)


def _add_verbs(verbs: Any, shared: argparse.ArgumentParser, kind: str, limits: tuple[str, ...]) -> None:
    words = {
        "show": "show what is set",
        "pause": "start no more runs",
        "resume": "start runs again",
        "set": "change its limits",
    }
    for verb, help_text in words.items():
        parser = verbs.add_parser(verb, parents=[shared], help=help_text)
        parser.add_argument("name", metavar=kind.upper())
        if verb == "set":
            for option in limits:
                parser.add_argument(option, metavar="N" if "rate" not in option else "RATE", help=_help(kind, option))
        parser.set_defaults(command=show if verb == "show" else change, kind=kind, verb=verb, limits=limits)


def _help(kind: str, option: str) -> str:
    back = "no limit" if kind == "queue" else "as declared"
    return f"{LIMITS[option]}; {NONE}: {back}"


def queues(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        found = list(client.queues())
    if display.is_json:
        for queue in found:
            display.value(queue)
        return 0
    if not found:
        display.text("No queues.")
        return 0
    rows = [
        [
            printable(queue["name"]),
            display.paint("paused", "yellow") if queue["is_paused"] else "open",
            _of(queue["depth"], queue["max_depth"]),
            _of(queue["running_count"], queue["max_concurrency"]),
            queue["rate_limit"] or "-",
            "-" if queue["oldest_wait_seconds"] is None else duration_text(queue["oldest_wait_seconds"]),
        ]
        for queue in found
    ]
    display.table([["QUEUE", "STATE", "DEPTH", "RUNNING", "RATE", "OLDEST"], *rows])
    return 0


def show(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        found = client.queue(options.name) if options.kind == "queue" else client.task(options.name)
    _show(options.kind, found, display)
    return 0


def change(options: argparse.Namespace, display: Display) -> int:
    changes: Any = {"is_paused": options.verb == "pause"} if options.verb != "set" else _limits(options)
    with Client() as client:
        verb = client.set_queue if options.kind == "queue" else client.set_task
        changed = verb(options.name, **changes)
    _show(options.kind, changed, display)
    return 0


def lift_cooldown(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        lifted = client.lift_cooldown(options.name)
    _show("task", lifted, display)
    return 0


def _limits(options: argparse.Namespace) -> dict[str, Any]:
    changes = {}
    for option in options.limits:
        name = option.removeprefix("--").replace("-", "_")
        text = getattr(options, name)
        if text is not None:
            changes[name] = None if text == NONE else text if "rate" in name else _whole(option, text)
    if not changes:
        raise UsageError(f"nothing to set: give one of {', '.join(options.limits)}")
    return changes


def _whole(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{option} {text}: must be a whole number or {NONE!r}") from None


def _show(kind: str, found: dict[str, Any], display: Display) -> None:
    if display.is_json:
        display.value(found)
        return
    rows = [["state", display.paint("paused", "yellow") if found["is_paused"] else "open"]]
    if kind == "queue":
        rows = [["queue", printable(found["name"])], *rows]
        rows += [
            [name.replace("_", " "), _text(found[name])] for name in ("max_concurrency", "rate_limit", "max_depth")
        ]
        rows += [["depth", str(found["depth"])], ["running", str(found["running_count"])]]
    else:
        rows = [["task", found["id"]], *rows]
        rows += [[name.replace("_", " "), _limit_text(limit)] for name, limit in found["limits"].items()]
        rows += [["failing runs", str(found["failing_count"])], ["cooling until", _text(found["cooling_until"])]]
    display.table(rows)


def _limit_text(limit: dict[str, Any]) -> str:
    by_hand = "" if limit["override"] is None else f"  (by hand; declared {_text(limit['declared'])})"
    return f"{_text(limit['effective'])}{by_hand}"


def _of(count: int, limit: int | None) -> str:
    return str(count) if limit is None else f"{count}/{limit}"


def _text(value: object) -> str:
    return "-" if value is None else str(value)
