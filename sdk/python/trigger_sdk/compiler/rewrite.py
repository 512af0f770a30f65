"""Rewrites a function's body so that it can start after any of its resume points. Pure: syntax in, syntax out.

The new body begins by asking the plan (a constant in the code) where to start: 0, or the index of the resume point.
Statements before point k are under `if start < k`; the branches, `with` and `try` on the way to it are entered. The
added names are not identifiers, so they cannot clash with the user's names. The given tree is not changed. Added code
has no line, so that debuggers and coverage see only the user's lines; only a save has its checkpoint's line.
"""

import ast
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from trigger_sdk.compiler.names import Function
from trigger_sdk.compiler.points import Point

PLAN: Any = ("trigger_sdk", frozenset({"plan"}))
"""Marks the place of the plan in the compiled constants. No source makes a constant of this form."""
ENTRY, START, NAMES, CASE = ".trigger_entry", ".trigger_start", ".trigger_names", ".trigger_case"
_Node = TypeVar("_Node", bound=ast.AST)


class Rewriter:
    """One function's points, rewritten by `body`."""

    def __init__(self, points: Sequence[Point], *, is_async: bool) -> None:
        self._point_of = {point.statement: point for point in points}
        self._is_async = is_async
        self._made_again = {statement for point in points for statement in point.again}
        self._names = sorted({name for point in points for name in (*point.binds, *point.carries)})
        self._passed = 0

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The whole body, with the docstring still first."""
        has_docstring = (
            isinstance(statements[0], ast.Expr)
            and isinstance(statements[0].value, ast.Constant)
            and isinstance(statements[0].value.value, str)
        )
        kept, rest = statements[:has_docstring], statements[has_docstring:]
        return [*kept, *self._prologue(), *self._block(rest)]

    def _prologue(self) -> list[ast.stmt]:
        enter = _call(_attribute(ast.Constant(PLAN), "enter"))
        start = _attribute(_load(ENTRY), "start")
        restored: list[ast.stmt] = [_assign(NAMES, _attribute(_load(ENTRY), "names")), *_rebind(self._names)]
        prologue: list[ast.stmt] = [_assign(ENTRY, enter), _assign(START, start), _if(_load(START), restored)]
        return [_nowhere(statement) for statement in prologue]

    def _block(self, statements: Iterable[ast.stmt]) -> list[ast.stmt]:
        """Gathers statements without points under one guard; statements that run again are outside it."""
        result: list[ast.stmt] = []
        gathered: list[ast.stmt] = []
        for statement in statements:
            is_again = statement in self._made_again
            if (
                self._count(statement) == 0
                and not is_again
                and not isinstance(statement, (*Function, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal))
            ):
                gathered.append(statement)
                continue
            result += self._guarded(gathered)
            gathered = []
            if is_again:
                result.append(self._again(statement))
            else:
                result += self._with_points(statement) if self._count(statement) else [statement]
        return result + self._guarded(gathered)

    def _guarded(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        is_behind_all = self._passed == len(self._point_of)
        if not statements or is_behind_all:
            return statements
        return [_nowhere(_if(_compare(ast.LtE, self._passed), statements))]

    def _again(self, statement: ast.stmt) -> ast.stmt:
        """A marked assignment: in its turn, and on the way to each point behind it that needs what it makes."""
        indexes = [ast.Constant(point.index) for point in self._point_of.values() if statement in point.again]
        is_needed = ast.Compare(_load(START), [ast.In()], [ast.Tuple([*indexes], ast.Load())])
        return _nowhere(_if(ast.BoolOp(ast.Or(), [_compare(ast.LtE, self._passed), is_needed]), [statement]))

    def _with_points(self, statement: ast.stmt) -> list[ast.stmt]:
        if statement in self._point_of:
            self._passed += 1
            return [self._save(self._point_of[statement])]
        last = self._passed + self._count(statement)
        entered = self._entered(statement)
        is_last = last == len(self._point_of)
        return entered if is_last else [_nowhere(_if(_compare(ast.LtE, last), entered))]

    def _entered(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.If):
            return [self._if(statement)]
        if isinstance(statement, (ast.With, ast.AsyncWith)):
            return [_like(statement, type(statement)(items=statement.items, body=self._block(statement.body)))]
        if isinstance(statement, (ast.Try, ast.TryStar)):
            body = self._block(statement.body)
            inside = self._passed
            orelse = self._block(statement.orelse)
            if self._passed > inside:
                # On the way to the `else` the body is finished, so what runs again for its own points is skipped.
                body = [self._until(inside, inner) for inner in body]
            new = type(statement)(body=body, handlers=statement.handlers, orelse=orelse, finalbody=statement.finalbody)
            return [_like(statement, new)]
        assert isinstance(statement, ast.Match)
        return self._match(statement)

    @staticmethod
    def _until(last: int, statement: ast.stmt) -> ast.stmt:
        if not isinstance(statement, (*Function, ast.Import, ast.ImportFrom)):
            return statement
        return _nowhere(_if(_compare(ast.LtE, last), [statement]))

    def _if(self, statement: ast.If) -> ast.If:
        first = self._passed
        body = self._block(statement.body)
        inside = self._passed
        orelse = self._block(statement.orelse)
        # Before the branch's points the condition decides; at them the branch is entered without testing it again.
        test: ast.expr = ast.BoolOp(ast.And(), [_compare(ast.LtE, first), statement.test])
        if inside > first:
            entered = ast.BoolOp(ast.And(), [_compare(ast.Gt, first), _compare(ast.LtE, inside)])
            test = ast.BoolOp(ast.Or(), [entered, test])
        return _like(statement, ast.If(test=_nowhere(test), body=body, orelse=orelse))

    def _match(self, statement: ast.Match) -> list[ast.stmt]:
        """The choice of the case, then the bodies: a resume needs no choice."""
        first = self._passed
        chosen = [
            ast.match_case(case.pattern, case.guard, [_nowhere(_assign(CASE, ast.Constant(number)))])
            for number, case in enumerate(statement.cases, 1)
        ]
        choice = _like(statement, ast.Match(subject=statement.subject, cases=chosen))
        resumed: list[ast.stmt] = []
        bodies: list[tuple[int, list[ast.stmt]]] = []
        for number, case in enumerate(statement.cases, 1):
            before = self._passed
            bodies.append((number, self._block(case.body)))
            if self._passed > before:
                resumed.append(_if(_compare(ast.Gt, before), [_assign(CASE, ast.Constant(number))]))
        chain: list[ast.stmt] = []
        for number, body in reversed(bodies):
            is_case = ast.Compare(_load(CASE), [ast.Eq()], [ast.Constant(number)])
            chain = [_nowhere(ast.If(test=is_case, body=body, orelse=chain))]
        select = ast.If(test=_compare(ast.LtE, first), body=[choice], orelse=resumed)
        return [_nowhere(_assign(CASE, ast.Constant(0))), _nowhere(select), *chain]

    def _save(self, point: Point) -> ast.stmt:
        data = ast.Dict([ast.Constant(name) for name in point.entries], list(point.entries.values()))
        live = ast.Dict([ast.Constant(name) for name in point.carries], [_if_held(name) for name in point.carries])
        method = "save_async" if self._is_async else "save"
        saved: ast.expr = _call(_attribute(_load(ENTRY), method), ast.Constant(point.index), data, live)
        if self._is_async:
            saved = ast.Await(saved)
        names = [*point.binds, *point.carries]
        # If a call spans lines, Python uses the last line of the method's object as the line of the call.
        place = point.statement if point.statement.end_lineno == point.line else point.call.func
        body = [_at(statement, place) for statement in [_assign(NAMES, saved), *_rebind(names)]]
        return _nowhere(_if(_compare(ast.Lt, point.index), body))

    def _count(self, statement: ast.stmt) -> int:
        return sum(statement in point.enclosing or statement is point.statement for point in self._point_of.values())


def _if_held(name: str) -> ast.expr:
    """`name` if the run holds a stored value for it (then it is bound), else the mark for nothing."""
    holds = _call(_attribute(_load(ENTRY), "holds"), ast.Constant(name))
    return ast.IfExp(holds, _load(name), _attribute(_load(ENTRY), "nothing"))


def _rebind(names: Iterable[str]) -> list[ast.stmt]:
    """`if "order" in names: order = names["order"]` for each, then releases the dict."""
    statements: list[ast.stmt] = []
    for name in names:
        is_given = ast.Compare(ast.Constant(name), [ast.In()], [_load(NAMES)])
        statements.append(_if(is_given, [_assign(name, ast.Subscript(_load(NAMES), ast.Constant(name), ast.Load()))]))
    return [*statements, _assign(NAMES, ast.Constant(None))]


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _attribute(value: ast.expr, name: str) -> ast.Attribute:
    return ast.Attribute(value, name, ast.Load())


def _call(function: ast.expr, *arguments: ast.expr) -> ast.Call:
    return ast.Call(function, list(arguments), [])


def _compare(operator: type[ast.cmpop], index: int) -> ast.expr:
    return ast.Compare(_load(START), [operator()], [ast.Constant(index)])


def _if(test: ast.expr, body: list[ast.stmt]) -> ast.stmt:
    return ast.If(test=test, body=body, orelse=[])


def _like(old: ast.AST, new: _Node) -> _Node:
    return ast.copy_location(new, old)


def _nowhere(node: _Node) -> _Node:
    """Marks every new node below `node` as having no line; nodes that have a place keep it."""
    return _at(node, _NOWHERE)


def _at(node: _Node, place: ast.AST) -> _Node:
    """Gives every new node below `node` the place of an old one; nodes that have a place keep it."""
    # `ast.copy_location` looks up each attribute, and would take a tenth of the whole check.
    where = {name: getattr(place, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
    waiting: list[ast.AST] = [node]
    while waiting:
        current = waiting.pop()
        if getattr(current, "lineno", None) is None:
            if isinstance(current, (ast.expr, ast.stmt, ast.excepthandler, ast.pattern)):
                vars(current).update(where)
            waiting.extend(ast.iter_child_nodes(current))
    return node


_NOWHERE = ast.Pass(lineno=-1, col_offset=-1, end_lineno=-1, end_col_offset=-1)
"""The compiler's own mark of code without a line (NO_LOCATION in Python/compile.c)."""
