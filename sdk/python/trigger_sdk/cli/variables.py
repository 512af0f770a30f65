"""`trigger env …`: variables of task sets, such as secrets. Values go to the server and are never shown again."""

import argparse
import getpass
import sys
from typing import Any

from trigger_sdk.cli.display import Display, age_of, printable
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.client import Client
from trigger_sdk.variables import VariableError, check_name, check_value

ALL_SETS = "all"


def add_parsers(choices: Any, shared: argparse.ArgumentParser) -> None:
    env = choices.add_parser("env", help="set, list or unset variables of tasks, such as secrets")
    verbs = env.add_subparsers(required=True, metavar="VERB")
    put = verbs.add_parser("set", parents=[shared], help="set variables for attempts that start from now on")
    put.add_argument(
        "variables", nargs="+", metavar="NAME=VALUE", help="a NAME alone: its value is read from standard input"
    )
    put.set_defaults(command=set_variables)
    listed = verbs.add_parser("list", parents=[shared], help="names and versions, without values")
    listed.set_defaults(command=list_variables)
    unset = verbs.add_parser("unset", parents=[shared], help="remove variables")
    unset.add_argument("names", nargs="+", metavar="NAME")
    unset.set_defaults(command=unset_variables)
    for verb in (put, listed, unset):
        verb.add_argument("--task-set", metavar="SET", help="of this task set; default: of all task sets")


def set_variables(options: argparse.Namespace, display: Display) -> int:
    given = _given(options.variables)
    with Client() as client:
        done = [client.set_variable(name, value, task_set=options.task_set) for name, value in given.items()]
    for row in done:
        if display.is_json:
            display.value(row)
        else:
            display.text(f"{row['name']} is set (version {row['version']}), for attempts that start from now on.")
    if options.task_set and not all(row["is_deployed"] for row in done):
        sys.stderr.write(
            f"trigger: no deployment has the task set {options.task_set!r} yet; its name is in trigger.toml\n"
        )
    return 0


def list_variables(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        found = client.variables(options.task_set)
    if display.is_json:
        for row in found:
            display.value(row)
        return 0
    if not found:
        display.text("No variables.")
        return 0
    rows = [
        [row["name"], printable(row["task_set"] or ALL_SETS), str(row["version"]), age_of(row["changed_at"]),
         printable(row["changed_by"])]
        for row in found
    ]  # fmt: skip
    display.table([["NAME", "TASK SET", "VERSION", "CHANGED", "BY"], *rows])
    return 0


def unset_variables(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        for name in options.names:
            row = client.unset_variable(name, task_set=options.task_set)
            if display.is_json:
                display.value(row)
            else:
                display.text(f"{name} is no longer set, for attempts that start from now on.")
    return 0


def _given(arguments: list[str]) -> dict[str, str]:
    """Names and values, all checked before the first is sent. No message contains a value."""
    if sum("=" not in argument for argument in arguments) > 1:
        raise UsageError("only one value can be read from standard input")
    given = {}
    for argument in arguments:
        name, is_given, value = argument.partition("=")
        try:
            check_name(name)
            value = value if is_given else _read_value(name)
            check_value(value)
        except VariableError as error:
            raise UsageError(f"{name[:60]}: {error}") from None
        given[name] = value
    return given


def _read_value(name: str) -> str:
    """The value from the terminal, unseen, or all of standard input without its last newline."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{name}: ")
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: standard input is not UTF-8: {error.reason}") from None
