"""`trigger dead-letters` and `trigger discard`: which runs failed for good, and what to do with them."""

import argparse
from typing import Any

from trigger_sdk.cli.display import Display, age_of, printable
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.client import Client

FILTERS = {
    "--task": "of this task",
    "--error-type": "that died of this error",
    "--queue": "of this queue",
    "--tag": "with this tag",
    "--since": "dead since this time (RFC 3339)",
    "--until": "dead before this time",
    "--search": "with this text in the error's message",
}
REFUSED_SHOWN = 20


def add_parsers(choices: Any, shared: argparse.ArgumentParser) -> None:
    filters = argparse.ArgumentParser(add_help=False)
    for option, help_text in FILTERS.items():
        filters.add_argument(option, help=help_text)
    letters = choices.add_parser("dead-letters", help="list, count, requeue or discard runs that failed for good")
    verbs = letters.add_subparsers(required=True, metavar="VERB")

    listed = verbs.add_parser("list", parents=[shared, filters], help="newest first")
    listed.add_argument("--limit", type=int, default=20, help="default 20")
    listed.set_defaults(command=list_dead_letters)

    groups = verbs.add_parser("groups", parents=[shared, filters], help="count them by task and type of error")
    groups.set_defaults(command=show_groups)

    requeue = verbs.add_parser("requeue", parents=[shared, filters], help="continue them from their checkpoints")
    _add_choice(requeue)
    requeue.add_argument("--deployment", default="original", help="original (default), latest or an id")
    requeue.add_argument("--rate", help="one after another at this rate, such as 10/s; default: all at once")
    requeue.set_defaults(command=requeue_many)

    discard = verbs.add_parser("discard", parents=[shared, filters], help="close them, all with the same note")
    _add_choice(discard)
    discard.add_argument("--note", required=True)
    discard.set_defaults(command=discard_many)

    single = choices.add_parser("discard", parents=[shared], help="close a dead letter with a note")
    single.add_argument("run")
    single.add_argument("--note", required=True)
    single.set_defaults(command=discard_one)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="only these; default: all that match the filters")
    parser.add_argument("--all", action="store_true", help="required if neither runs nor filters are given")


def list_dead_letters(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        found = list(client.dead_letters(limit=options.limit, **_filters(options)))
    if display.is_json:
        for item in found:
            display.value(item)
        return 0
    if not found:
        display.text("No dead letters.")
        return 0
    rows = [
        [
            item["id"],
            item["task"],
            printable(item["error_type"] or "-"),
            f"{item['attempt_count']}",
            age_of(item["finished_at"]),
            _line(item["error_message"] or ""),
        ]
        for item in found
    ]
    display.table([["RUN", "TASK", "ERROR", "ATTEMPTS", "DIED", "MESSAGE"], *rows])
    return 0


def show_groups(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        found = client.dead_letter_groups(**_filters(options))
    if display.is_json:
        display.value(found)
        return 0
    rows = [
        [str(g["count"]), g["task"], printable(g["error_type"] or "-"), age_of(g["last_at"])] for g in found["items"]
    ]
    display.table([["COUNT", "TASK", "ERROR", "LAST"], *rows])
    if not found["is_complete"]:
        display.text("Only the newest were counted; filters go further back.")
    return 0


def requeue_many(options: argparse.Namespace, display: Display) -> int:
    ids, chosen = _choice(options)
    with Client() as client:
        outcome = client.requeue_dead_letters(ids, deployment=options.deployment, rate=options.rate, **chosen)
    return _report(outcome, "requeued", display)


def discard_many(options: argparse.Namespace, display: Display) -> int:
    ids, chosen = _choice(options)
    with Client() as client:
        outcome = client.discard_dead_letters(ids, note=options.note, **chosen)
    return _report(outcome, "discarded", display)


def discard_one(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        closed = client.discard(options.run, note=options.note)
    if display.is_json:
        display.value(closed.data)
    else:
        display.state(closed.data)
    return 0


def _choice(options: argparse.Namespace) -> tuple[list[str] | None, Any]:
    chosen = _filters(options)
    if options.runs and chosen:
        raise UsageError("give either runs or filters")
    if not options.runs and not chosen and not options.all:
        raise UsageError("give runs, filters, or --all")
    return options.runs or None, chosen


def _filters(options: argparse.Namespace) -> Any:
    names = [option.removeprefix("--").replace("-", "_") for option in FILTERS]
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _report(outcome: dict[str, Any], done: str, display: Display) -> int:
    """Prints the outcome; returns 1 if some were refused."""
    if display.is_json:
        display.value(outcome)
    else:
        display.text(f"{outcome['count']} {done}, {outcome['refused_count']} refused")
        for refused in outcome["refused"][:REFUSED_SHOWN]:
            display.text(f"{display.paint('refused', 'red')} {refused['id']}  {_line(refused['reason'])}")
    return 1 if outcome["refused_count"] else 0


def _line(text: str) -> str:
    """The first line, bounded."""
    first = printable(text.partition("\n")[0])
    return first if len(first) <= 100 else first[:99] + "…"
