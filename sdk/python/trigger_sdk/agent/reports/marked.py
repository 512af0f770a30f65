"""Log lines of processes that a run has forked: they reach the agent as marked text on stderr, and keep their level.

Such a process has no connection of its own, because it does not speak for the run. Anybody may write a marked line; it
is a line of the run's log, and nothing else.
"""

import json
from typing import Any

from trigger_sdk.agent.reports.output import LINE_MAX_BYTES, clean_text, now_text

MARK = "\x1etrigger-log "
"""Begins with the ASCII record separator, which no program prints at the start of a line."""
LEVELS = ("debug", "info", "warning", "error")
SHORT_BYTES = LINE_MAX_BYTES // 8
"""JSON makes up to six bytes of one."""


def marked_line(level: str, message: str, fields: dict[str, Any]) -> bytes:
    """One line of at most LINE_MAX_BYTES; a message that is too long for it is cut, and says so."""
    line = _encoded(level, clean_text(message), fields)
    if len(line) > LINE_MAX_BYTES:
        line = _encoded(level, clean_text(message, max_bytes=SHORT_BYTES), fields)
    if len(line) > LINE_MAX_BYTES:
        cut = {"cut": "the fields of this line are over the limit of a forked process"}
        line = _encoded(level, clean_text(message, max_bytes=SHORT_BYTES), cut)
    return line


def read_marked(line: str) -> dict[str, Any] | None:
    """The fields of a `log` frame; None for any other text."""
    if not line.startswith(MARK):
        return None
    try:
        level, message, fields, at = json.loads(line.removeprefix(MARK))
    except (ValueError, TypeError, RecursionError):
        return None
    if level not in LEVELS or not isinstance(message, str) or not isinstance(fields, dict) or not isinstance(at, str):
        return None
    return {"level": level, "message": message, "fields": fields, "at": at}


def _encoded(level: str, message: str, fields: dict[str, Any]) -> bytes:
    return f"{MARK}{json.dumps([level, message, fields, now_text()], ensure_ascii=False)}\n".encode()
