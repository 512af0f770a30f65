"""`trigger replay` and `trigger requeue`: read the edits, ask the server, and show what a replay would do."""

import argparse
from typing import Any

from trigger_sdk.cli.display import Display
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.cli.values import read_json
from trigger_sdk.client import Client


def replay_options(options: argparse.Namespace) -> dict[str, Any]:
    """The edits and choices as `Client.replay` takes them; UsageError names the wrong argument."""
    given: dict[str, Any] = {
        "checkpoint_data": _data(options.data),
        "deployment": options.deployment,
        "new_idempotency_keys": options.new_keys,
    }
    if options.payload is not None:
        given["payload"] = read_json(options.payload, "--payload")
        if given["payload"] is None:
            raise UsageError("--payload null: leave it out to keep the original's, or give {}")
    return given


def _data(arguments: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for argument in arguments:
        key, value = _edit(argument)
        if key in found:
            raise UsageError(f"--data {key}=…: the key {key!r} is given twice")
        found[key] = value
    return found


def _edit(argument: str) -> tuple[str, Any]:
    """Splits at the first `=` that is followed by JSON, because keys may contain `=`."""
    refusal = None
    for place in (place for place, letter in enumerate(argument) if letter == "=" and place > 0):
        key = argument[:place]
        try:
            return key, read_json(argument[place + 1 :], f"--data {key}", is_input_allowed=False)
        except UsageError as error:
            refusal = refusal or error
    raise refusal or UsageError(f"--data {argument}: must be KEY=JSON, such as order-fetched='{{\"order\": 1}}'")


def show_preview(options: argparse.Namespace, display: Display) -> int:
    """Prints what the replay would do; returns 1 if it would be refused."""
    shown = Client().preview_replay(options.run, options.from_checkpoint, **replay_options(options))
    if display.is_json:
        display.value(shown)
    else:
        _print(shown, display)
    return 1 if shown["refusals"] else 0


def _print(shown: dict[str, Any], display: Display) -> None:
    deployment = shown["deployment"]
    other = "not the original's" if shown["is_other_deployment"] else "the original's"
    key = shown["concurrency_key"]
    display.table(
        [
            ["deployment", f"{deployment['id']} v{deployment['version']}, {other}"],
            ["continues", f"after {shown['resumes_after']}" if shown["resumes_after"] else "at the start"],
            ["keys", shown["keys_reason"]],
            *([["concurrency", f"key {key}"]] if key else []),
        ]
    )
    for entry in shown["reused"]:
        marks = [entry["kind"], *(["edited"] if entry["is_edited"] else [])]
        marks += ["its code has changed"] if entry["is_code_changed"] else []
        display.text(f"{display.paint('reused', 'green')}     {entry['key']}  {', '.join(marks)}")
    for key in shown["runs_again"]:
        display.text(f"{display.paint('runs again', 'blue')} {key}")
    for warning in shown["warnings"]:
        display.text(f"{display.paint('warning', 'yellow')}    {warning}")
    for refusal in shown["refusals"]:
        display.text(f"{display.paint('refused', 'red')}    {refusal['path']}: {refusal['message']}")
