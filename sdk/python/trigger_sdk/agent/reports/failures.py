"""Turns an exception into the error of a run: type, message, and a stack of the user's own lines.

The exception is the task's, so any of its attributes may raise, lie, or be endless. Its type is read from the
interpreter's own slots, its message is bounded in time and size, and the rest is left out with a count. The result is
a small tree of plain exceptions, which the standard library formats.
"""

import os
import traceback
from typing import Any

from trigger_sdk.agent.reports.described import Frames, Plain, Sayings, bounded, kind_name, plain_of

STACK_MAX_BYTES = 64 * 1024
MESSAGE_MAX_BYTES = 16 * 1024
FRAMES_KEPT = 50
"""How many frames are kept at each end of a stack that is longer than twice this."""

_SDK = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_BEFORE_USERS = (_SDK, _LIBRARY + "asyncio" + os.sep, _LIBRARY + "importlib" + os.sep, "<frozen importlib")

_shown_relative_to: list[str] = []


def show_relative_to(folder: str) -> None:
    """From now on, names files of this folder in stacks as in the user's own copy of it."""
    _shown_relative_to.append(folder.rstrip(os.sep) + os.sep)


def describe(error: BaseException) -> dict[str, Any]:
    """`{type, message, stack}`, without what Postgres cannot store; the SDK's frames are left out.

    Never raises: an error that cannot be described is still the outcome of its run.
    """
    sayings = Sayings()
    return {
        "type": kind_name(type(error)),
        "message": bounded(sayings.of(error), MESSAGE_MAX_BYTES),
        "stack": _stack(error, sayings),
    }


def _stack(error: BaseException, sayings: Sayings) -> str:
    try:
        plain = plain_of(error, sayings)
        report = traceback.TracebackException.from_exception(plain)
        _give_frames(report, plain)
        text = "".join(report.format())
    except BaseException as failure:  # the task's own code may raise anything when it is asked
        return f"<no stack: reading the exception raised {kind_name(type(failure))}>"
    data = bounded(text, len(text) * 4).encode()
    if len(data) <= STACK_MAX_BYTES:
        return data.decode()
    note = f"\n  … [{len(data) - STACK_MAX_BYTES} bytes cut] …\n"
    half = (STACK_MAX_BYTES - len(note.encode())) // 2
    return data[:half].decode("utf-8", "ignore") + note + data[-half:].decode("utf-8", "ignore")


def _give_frames(report: traceback.TracebackException, plain: BaseException) -> None:
    """Gives each plain exception, which was never raised, the frames of its original."""
    waiting: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(report, plain)]
    while waiting:
        shown, of = waiting.pop()
        if shown is None or of is None:
            continue
        shown.stack[:] = _own_frames(of.frames) if isinstance(of, Plain) else []
        waiting += [(shown.__cause__, of.__cause__), (shown.__context__, of.__context__)]
        inner = of.exceptions if isinstance(of, BaseExceptionGroup) else ()
        waiting += zip(shown.exceptions or (), inner, strict=False)


def _own_frames(frames: Frames) -> list[traceback.FrameSummary]:
    names = frames.file_names()
    first = next((i for i, name in enumerate(names) if not name.startswith(_BEFORE_USERS)), 0)
    own = [i for i in range(first, len(names)) if not names[i].startswith((_SDK, "<frozen importlib"))]
    if len(own) <= 2 * FRAMES_KEPT:
        return [_shown(frames.summary(i)) for i in own]
    note = f"… {len(own) - 2 * FRAMES_KEPT} frames left out …"
    gap = traceback.FrameSummary(note, 0, "…", lookup_line=False, line="")
    kept = [_shown(frames.summary(i)) for i in (*own[:FRAMES_KEPT], *own[-FRAMES_KEPT:])]
    return [*kept[:FRAMES_KEPT], gap, *kept[FRAMES_KEPT:]]


def _shown(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    for folder in _shown_relative_to:
        frame.filename = frame.filename.removeprefix(folder)
    return frame
