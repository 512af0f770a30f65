"""The annotation in front of a step, as in `reply: Reply = step("ask", ask, prompt)`, which names its result's type.

Read from the file of the code that calls the step; a file is read once in a process. A task's own file is read when the
task is registered, before any process is forked for a run.
"""

import ast
import functools
import itertools
import linecache
import re
import typing
from collections.abc import Mapping
from types import FrameType
from typing import Any

from trigger_sdk.compiler.local_types import evaluated_in
from trigger_sdk.compiler.source import parsed

Place = tuple[int, int]
"""Line and byte column of the end of a call: calls that begin at one place end at different ones."""
_ANNOTATED = re.compile(r"^[ \t]+\w+[ \t]*:[^=\n]*=", re.MULTILINE)
"""What an annotated assignment in a function looks like; a file without it need not be parsed."""


class Targets(typing.NamedTuple):
    """The annotated assignments of a file whose value is a call. `lines` are all lines of those calls."""

    annotations: Mapping[Place, ast.expr]
    lines: frozenset[int]


@functools.lru_cache(maxsize=256)
def targets_of(file: str) -> Targets:
    """The annotated calls of a file; none for what cannot be read."""
    text = "".join(linecache.getlines(file))
    if not _ANNOTATED.search(text):
        return Targets({}, frozenset())
    try:
        tree = parsed(text)
    except SyntaxError:
        return Targets({}, frozenset())
    found: dict[Place, ast.expr] = {}
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if isinstance(call, ast.Call) and call.end_lineno is not None and call.end_col_offset is not None:
                found[call.end_lineno, call.end_col_offset] = node.annotation
                lines.update(range(call.lineno, call.end_lineno + 1))
    return Targets(found, frozenset(lines))


def target_annotation(frame: FrameType) -> Any:
    """The evaluated annotation of the name that a frame's current call is assigned to; None if there is none."""
    targets = targets_of(frame.f_code.co_filename)
    if frame.f_lineno not in targets.lines:
        return None
    position = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    _, line, _, column = position or (None,) * 4
    node = targets.annotations.get((line, column)) if line is not None and column is not None else None
    if node is None:
        return None
    found = evaluated_in(frame.f_globals, {}, node)
    # A class of the function's own is not a global.
    return found if found is not None else evaluated_in(frame.f_globals, dict(frame.f_locals), node)


def chosen(target: Any, returned: Any) -> Any:
    """The type of a step's result: what the name in front of it is annotated with, unless the function says more."""
    if target in (None, Any, object):
        return returned
    if typing.get_origin(returned) is target:
        return returned
    if isinstance(returned, type) and isinstance(target, type) and issubclass(returned, target):
        return returned
    return target
