"""Turns an exception into the error of a run: type, message, and a stack of the user's own lines."""

import os
import traceback
from typing import Any

from trigger_sdk.agent.output import clean_text

STACK_MAX_BYTES = 64 * 1024
MESSAGE_MAX_BYTES = 16 * 1024
FRAMES_KEPT = 50
"""At each end of a stack that is longer than twice this."""

_SDK = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_BEFORE_USERS = (_SDK, _LIBRARY + "asyncio" + os.sep, _LIBRARY + "importlib" + os.sep, "<frozen importlib")

_shown_relative_to: list[str] = []


def show_relative_to(folder: str) -> None:
    """From now on files of this folder are named in stacks as they are in the user's own copy of it."""
    _shown_relative_to.append(folder.rstrip(os.sep) + os.sep)


def describe(error: BaseException) -> dict[str, Any]:
    """`{type, message, stack}`, free of what Postgres cannot store; frames of the SDK are left out."""
    return {
        "type": _type_name(type(error)),
        "message": clean_text(_message(error), max_bytes=MESSAGE_MAX_BYTES),
        "stack": clean_text(_stack(error)),
    }


def _type_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:  # the user's __str__ may raise anything
        return f"<no message: str() of the exception raised {type(failure).__name__}>"


def _stack(error: BaseException) -> str:
    report = traceback.TracebackException.from_exception(error)
    _leave_out_platform(report, seen=set())
    text = "".join(report.format())
    data = text.encode("utf-8", "replace")
    if len(data) <= STACK_MAX_BYTES:
        return text
    note = f"\n  … [{len(data) - STACK_MAX_BYTES} bytes cut] …\n"
    half = (STACK_MAX_BYTES - len(note.encode())) // 2
    return data[:half].decode("utf-8", "ignore") + note + data[-half:].decode("utf-8", "ignore")


def _leave_out_platform(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack[:] = _own_frames(list(report.stack))
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if other is not None:
            _leave_out_platform(other, seen)


def _own_frames(frames: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    first = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(_BEFORE_USERS)), 0)
    own = [frame for frame in frames[first:] if not frame.filename.startswith((_SDK, "<frozen importlib"))]
    for frame in own:
        for folder in _shown_relative_to:
            frame.filename = frame.filename.removeprefix(folder)
    if len(own) <= 2 * FRAMES_KEPT:
        return own
    note = f"… {len(own) - 2 * FRAMES_KEPT} frames left out …"
    gap = traceback.FrameSummary(note, 0, "…", lookup_line=False, line="")
    return [*own[:FRAMES_KEPT], gap, *own[-FRAMES_KEPT:]]
