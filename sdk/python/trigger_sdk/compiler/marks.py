"""The marks in comments, `# trigger: again` and `# trigger: re-enter`: where they are, and what they may stand on.

Owns which statements are made again; whether that is right at a resume point is the question of `reruns.py`.
"""

import ast
from collections.abc import Iterator, Sequence

from trigger_sdk.compiler.names import own_scope
from trigger_sdk.compiler.source import AGAIN, RE_ENTER, Source
from trigger_sdk.compiler.things import Thing, thing_of
from trigger_sdk.errors import Problem

__all__ = ["AGAIN", "NEVER_AGAIN", "RE_ENTER", "binds_plain_names", "check_marks", "has_mark", "is_made_again"]


NEVER_AGAIN = {
    Thing.DATA: "a resume would find it empty, without what the code put in: save it in a checkpoint instead",
    Thing.TEMPORARY: "a resume would make a new one, without the files that were in the old one: make it after the "
    "checkpoint, and save the content of the files, or where you stored them",
    Thing.WRITTEN: "a resume would begin an empty file: write it after the checkpoint, or save what it shall hold",
    Thing.TRANSACTION: "a resume would begin another transaction, without what was done in this one: end it before "
    "the checkpoint",
}


def has_mark(source: Source, first: int, last: int, *words: str) -> bool:
    """Whether a comment on one of the lines is one of these marks."""
    marks = source.marks
    return bool(marks) and any(marks.get(line) in words for line in range(first, last + 1))


def is_made_again(source: Source, statement: ast.stmt) -> bool:
    """Whether a statement is an assignment of plain names with the mark `# trigger: again`."""
    if not source.marks or not binds_plain_names(statement):
        return False
    return has_mark(source, statement.lineno, statement.end_lineno or statement.lineno, AGAIN)


def check_marks(source: Source, made_again: Sequence[ast.stmt]) -> Iterator[Problem]:
    """Marks that would do nothing, and values that must not be made again. `made_again` are the statements that are."""
    node = source.node
    first, last = node.lineno, node.end_lineno or node.lineno
    wanted = {line for line, word in source.marks.items() if word == AGAIN and first <= line <= last}
    if not wanted:
        return
    for statement in made_again:
        wanted.difference_update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
        value = getattr(statement, "value", None)
        is_spread = isinstance(statement, ast.Assign) and not isinstance(statement.targets[0], ast.Name)
        thing = thing_of(source, value) if isinstance(value, ast.expr) and not is_spread else None
        if isinstance(value, ast.expr) and thing in NEVER_AGAIN:
            message = f"`{ast.unparse(value)}` must not be made again: {NEVER_AGAIN[thing]}"
            yield source.problem(value, "again_value", message)
    for inner in own_scope(node.body):
        if isinstance(inner, (ast.With, ast.AsyncWith)):
            wanted.difference_update(range(inner.lineno, inner.body[0].lineno))
    for line in sorted(wanted):
        column = len(source.lines[line - 1].encode()) - len(source.lines[line - 1].lstrip().encode()) + 1
        message = (
            "`# trigger: again` has no effect here: it belongs on an assignment of plain names, or on a `with`, that "
            "stands in the task's own body, not in a loop, an `except`, a `finally` or a nested function"
        )
        yield Problem(source.file, line, column, "again_place", message)


def binds_plain_names(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None and isinstance(statement.target, ast.Name)
    plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)
    return isinstance(statement, ast.Assign) and all(
        isinstance(part, plain) for target in statement.targets for part in ast.walk(target)
    )
