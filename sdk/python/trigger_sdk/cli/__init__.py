"""`trigger`: runs, logs and checks from the command line. Parses arguments and turns errors into exit codes."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from trigger_sdk import __version__
from trigger_sdk.cli import checking, commands, dead_letters, queues, triggering, variables
from trigger_sdk.cli.display import Display, accept_any_text
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.client.http_api import ApiError, NotConfigured, Unreachable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_SERVER_ERROR = 5

EPILOG = """exit codes: 0 done · 1 the run did not complete, or the check found errors · 2 wrong usage ·
3 refused by the server (4xx) · 4 the server does not answer · 5 the server failed (5xx)

The server is TRIGGER_URL with TRIGGER_API_KEY, else the development server whose var/dev.json is in this folder or one
above."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script `trigger`."""
    accept_any_text(sys.stdout, sys.stderr)
    try:
        code = execute(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `trigger runs | head`
        sys.stdout = None
        code = EXIT_OK
    sys.exit(code)


def execute(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    display = Display(sys.stdout, is_json=options.json)
    try:
        code: int = options.command(options, display)
    except UsageError as error:
        return _complain(f"{error}", EXIT_USAGE)
    except NotConfigured as error:
        return _complain(f"{error}", EXIT_USAGE)
    except Unreachable as error:
        return _complain(f"{error}", EXIT_UNREACHABLE)
    except ApiError as error:
        if options.json:
            display.value({"status": error.status, "type": error.type, "detail": error.detail, "errors": error.errors})
        return _complain(f"{error}", EXIT_REFUSED if error.status < 500 else EXIT_SERVER_ERROR)
    return code


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"trigger: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trigger",
        description="Start, watch and repeat durable runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"trigger {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON, one value per line")
    choices = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_run(choices, shared)
    _add_reading(choices, shared)
    _add_moves(choices, shared)
    _add_replay(choices, shared)
    queues.add_parsers(choices, shared)
    dead_letters.add_parsers(choices, shared)
    variables.add_parsers(choices, shared)
    _add_check(choices, shared)
    return parser


def _add_run(choices: Any, shared: argparse.ArgumentParser) -> None:
    run = choices.add_parser("run", parents=[shared], help="start a run of a task")
    triggering.add_arguments(run)
    _add_follow(run)
    run.set_defaults(command=commands.run)


def _add_reading(
    choices: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    runs = choices.add_parser("runs", parents=[shared], help="list runs, newest first")
    for flag, help_text in commands.RUN_FILTERS.items():
        runs.add_argument(flag, help=help_text)
    runs.add_argument("--limit", type=_positive, default=20, help="default 20")
    runs.set_defaults(command=commands.runs)

    show = choices.add_parser("show", parents=[shared], help="one run with its attempts and checkpoints")
    show.add_argument("run")
    show.set_defaults(command=commands.show)

    logs = choices.add_parser("logs", parents=[shared], help="the log lines of a run")
    logs.add_argument("run")
    logs.add_argument("-f", "--follow", action="store_true", help="continue until the run is final")
    logs.set_defaults(command=commands.logs)


def _add_moves(choices: Any, shared: argparse.ArgumentParser) -> None:
    bump = choices.add_parser("bump", parents=[shared], help="move a pending run to the front of its queue")
    bump.add_argument("run")
    bump.set_defaults(command=commands.bump)

    cancel = choices.add_parser("cancel", parents=[shared], help="cancel a run")
    cancel.add_argument("run")
    cancel.set_defaults(command=commands.cancel)

    reset = choices.add_parser(
        "idempotency-reset", parents=[shared], help="free an idempotency key: its next trigger makes a new run"
    )
    reset.add_argument("task")
    reset.add_argument("key")
    reset.set_defaults(command=commands.reset_idempotency_key)

    requeue = choices.add_parser("requeue", parents=[shared], help="continue a dead letter from its last checkpoint")
    requeue.add_argument("run")
    requeue.add_argument("--deployment", default="original", help="original (default), latest or an id")
    _add_follow(requeue)
    requeue.set_defaults(command=commands.requeue)


def _add_replay(
    choices: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    replay = choices.add_parser("replay", parents=[shared], help="start a new run from a checkpoint of an old one")
    replay.add_argument("run")
    replay.add_argument(
        "--from", dest="from_checkpoint", metavar="KEY", help="the checkpoint or step; default: from the start"
    )
    replay.add_argument("--payload", help="a different payload: JSON, @FILE, or - for standard input")
    replay.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="complete new data for a reused checkpoint: JSON or @FILE; may be repeated",
    )
    replay.add_argument("--deployment", default="original", help="original (default), latest or an id")
    replay.add_argument("--new-keys", action="store_true", help="never use the original's idempotency keys")
    replay.add_argument("--preview", action="store_true", help="show what it would do, and do nothing")
    _add_follow(replay)
    replay.set_defaults(command=commands.replay)


def _add_check(choices: Any, shared: argparse.ArgumentParser) -> None:
    check = choices.add_parser("check", parents=[shared], help="check that tasks can resume; needs no server")
    check.add_argument("paths", nargs="+", metavar="PATH", help="a task folder or a Python file")
    check.set_defaults(command=checking.check)


def _add_follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="print its log and states until it is final")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 up")
    return number
