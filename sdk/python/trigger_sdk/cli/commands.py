"""The commands of `trigger`: each takes parsed options, prints through a `Display`, and returns its exit code."""

import argparse
import json
import shlex
import sys
from typing import Any

from trigger_sdk.cli.again import replay_options, show_preview
from trigger_sdk.cli.display import Display, age_of, duration_of
from trigger_sdk.cli.following import follow, follow_logs
from trigger_sdk.cli.triggering import trigger_options
from trigger_sdk.cli.values import read_json
from trigger_sdk.client import Client, Run

RUN_FILTERS = {
    "--state": "in this state",
    "--task": "of this task",
    "--queue": "of this queue",
    "--tag": "with this tag",
    "--since": "created since this time (RFC 3339)",
    "--until": "created before this time",
    "--replay-of": "replays of this run",
}


def run(options: argparse.Namespace, display: Display) -> int:
    payload = read_json(options.payload, "--payload")
    with Client() as client:
        started = client.trigger(options.task, payload, **trigger_options(options))
        if started.is_duplicate:
            sys.stderr.write(f"trigger: {_duplicate_note(started)}\n")
        return _report_started(started, options, display)


def _duplicate_note(known: Run) -> str:
    """What a person should know of a run that the trigger did not make."""
    key, state = known.data.get("idempotency_key"), known.state.replace("_", " ")
    error = f" ({_error_line(known.error)})" if known.error and known.state == "dead_letter" else ""
    note = f"the idempotency key {key!r} already stands for {known.id}, state: {state}{error}"
    if known.state != "completed" and known.is_final:
        free = shlex.join(["trigger", "idempotency-reset", known.task, str(key)])
        note += f"; for a new run free the key: {free}"
    return note


def reset_idempotency_key(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        freed = client.reset_idempotency_key(options.task, options.key)
    if display.is_json:
        display.value(freed)
    else:
        display.text(f"The key is free. It stood for {freed['run']}, state: {freed['state'].replace('_', ' ')}.")
    return 0


def runs(options: argparse.Namespace, display: Display) -> int:
    names = (flag.removeprefix("--").replace("-", "_") for flag in RUN_FILTERS)
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    found = Client().runs(limit=options.limit, **chosen)
    if display.is_json:
        for item in found:
            display.value(item.data)
        return 0
    rows = [
        [
            item.id,
            display.mark(item.state, 11),
            item.task,
            f"{item.attempt_count}/{item.data['attempt_limit']}",
            age_of(item.data["created_at"]),
            duration_of(item.data),
        ]
        for item in found
    ]
    if not rows:
        display.text("No runs.")
        return 0
    display.table([["RUN", "STATE", "TASK", "ATTEMPTS", "AGE", "DURATION"], *rows])
    return 0


def show(options: argparse.Namespace, display: Display) -> int:
    shown = Client().run(options.run)
    attempts, checkpoints = shown.attempts(), shown.checkpoints()
    if display.is_json:
        display.value({**shown.data, "attempts": attempts, "checkpoints": checkpoints})
        return 0
    display.state(shown.data, note=f"{shown.task}  {shown.id}")
    fields = [["payload", _compact(shown.payload)]]
    if shown.state == "completed":
        fields.append(["output", _compact(shown.output)])
    if shown.data.get("replay_of"):
        origin = shown.data.get("replay_from") or "the start"
        fields.append(["replay of", f"{shown.data['replay_of']} from {origin}"])
    fields += [[name, _compact(shown.data[name])] for name in ("tags", "metadata") if shown.data.get(name)]
    fields += [["created", shown.data["created_at"]], ["duration", duration_of(shown.data)]]
    display.table(fields)
    _show_attempts(attempts, display)
    _show_checkpoints(checkpoints, display)
    if shown.error is not None and shown.state != "completed":
        display.text("\n" + display.paint(shown.error["stack"].rstrip() or _error_line(shown.error), "red"))
    return 0


def logs(options: argparse.Namespace, display: Display) -> int:
    shown = Client().run(options.run)
    if options.follow:
        follow_logs(shown, display)
        return 0
    for line in shown.logs():
        if display.is_json:
            display.value(line)
        else:
            display.log_line(line)
    return 0


def bump(options: argparse.Namespace, display: Display) -> int:
    with Client() as client:
        bumped = client.bump(options.run)
    if display.is_json:
        display.value(bumped.data)
    else:
        display.state(bumped.data, note="at the front of its queue")
    return 0


def cancel(options: argparse.Namespace, display: Display) -> int:
    canceled = Client().cancel(options.run)
    if display.is_json:
        display.value(canceled.data)
    else:
        display.state(canceled.data, note="" if canceled.is_final else "asked to stop")
    return 0


def replay(options: argparse.Namespace, display: Display) -> int:
    if options.preview:
        return show_preview(options, display)
    made = Client().replay(options.run, options.from_checkpoint, **replay_options(options))
    return _report_started(made, options, display)


def requeue(options: argparse.Namespace, display: Display) -> int:
    return _report_started(Client().requeue(options.run, deployment=options.deployment), options, display)


def _report_started(started: Run, options: argparse.Namespace, display: Display) -> int:
    if options.follow:
        follow(started, display)
        return 0 if started.state == "completed" else 1
    if display.is_json:
        display.value(started.data)
    else:
        display.text(started.id)
    return 0


def _show_attempts(attempts: list[dict[str, Any]], display: Display) -> None:
    for attempt in attempts:
        origin = f"from {attempt['resumed_from']}" if attempt["resumed_from"] else "from the start"
        error = f"  {_error_line(attempt['error'])}" if attempt["error"] else ""
        outcome = attempt["outcome"] or "running"
        colour = {"completed": "green", "running": "blue"}.get(outcome, "yellow")
        display.text(f"attempt {attempt['number']}  {display.paint(outcome, colour)}  {origin}{error}")


def _show_checkpoints(checkpoints: list[dict[str, Any]], display: Display) -> None:
    for checkpoint in checkpoints:
        size = f"{checkpoint['size_bytes']} bytes"
        origin = f"attempt {checkpoint['attempt']}" if checkpoint["attempt"] else "brought along"
        edited = ", edited" if checkpoint["is_edited"] else ""
        display.text(f"{checkpoint['kind']} {checkpoint['key']}  {origin}{edited}  {size}")


def _error_line(error: dict[str, Any]) -> str:
    return f"{error['type']}: {error['message']}".partition("\n")[0]


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 500 else text[:499] + "…"
