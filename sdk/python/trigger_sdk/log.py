"""Structured log lines of a task: `log.info("fetched", order=order_id)`. Outside a run they go to `logging`."""

import json
from typing import Any

from trigger_sdk.run import context


def debug(message: str, /, **fields: Any) -> None:
    _write("debug", message, fields)


def info(message: str, /, **fields: Any) -> None:
    _write("info", message, fields)


def warning(message: str, /, **fields: Any) -> None:
    _write("warning", message, fields)


def error(message: str, /, **fields: Any) -> None:
    _write("error", message, fields)


def plain_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as plain JSON values. What JSON lacks is shown as text: a log line must never fail a run."""
    return {name: _plain(value) for name, value in fields.items()}


def _write(level: str, message: str, fields: dict[str, Any]) -> None:
    run = context.active_run()
    if run is not None:
        run.runtime.log(level, str(message), plain_fields(fields))
        return
    _write_outside(level, message, plain_fields(fields))


def _write_outside(level: str, message: str, fields: dict[str, Any]) -> None:
    # Nothing in a run needs `logging`, which takes a fifth of this package's load time.
    import logging

    outside = logging.getLogger("trigger_sdk.task")
    shown = " ".join(f"{name}={value}" for name, value in fields.items())
    if not outside.hasHandlers():
        # Shown on the terminal by default, without touching the root logger's configuration.
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        outside.addHandler(handler)
        outside.setLevel(logging.DEBUG)
    outside.log(logging.getLevelNamesMapping()[level.upper()], "%s", f"{message} {shown}".rstrip())


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    try:
        return json.loads(json.dumps(value, default=_shown, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return _shown(value)


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception as failure:  # any object may be logged, even one with a broken __str__
        return f"<{type(value).__name__}: {failure!r}>"
