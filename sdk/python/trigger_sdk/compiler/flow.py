"""The control flow of a function as a graph, and two facts at each of its nodes: which names are read later, and where
a name's value comes from.

The graph may have more edges than the code (any statement may raise, `finally` may leave anywhere), never fewer: a fact
made wrong by this refuses good code, but never lets bad code pass.
"""

import ast
from collections.abc import Callable, Iterable
from typing import NamedTuple

from trigger_sdk.compiler.names import Names, names_in
from trigger_sdk.compiler.points import Point

Origin = object
"""Where a name's value comes from: PARAMETER, SAVED, UNBOUND, or the Node that bound it."""
PARAMETER, SAVED, UNBOUND = "parameter", "saved", "unbound"
Facts = dict[str, frozenset[Origin]]


class Node:
    """One step of the code. `after` follows in order, `raised` when it raises; `origin` is the piece of syntax.

    `outer` are the names it sets that are not the function's own.
    """

    def __init__(
        self,
        names: Names | None = None,
        origin: ast.AST | None = None,
        position: tuple[int, int] = (0, 0),
        after: Iterable["Node"] = (),
        raised: Iterable["Node"] = (),
    ) -> None:
        self.names = names or Names()
        self.origin = origin
        self.position = position
        self.outer: set[str] = set()
        self.point: Point | None = None
        self.after = list(after)
        self.raised = list(raised)
        self.live: dict[str, int] = {}
        self.before: Facts | None = None

    @property
    def line(self) -> int:
        return self.position[0]


class _Exits(NamedTuple):
    raised: Node
    returned: Node
    broken: Node | None = None
    continued: Node | None = None

    def through(self, node: Node) -> "_Exits":
        """The exits of the code inside a `try … finally`: all pass through the `finally`."""
        return _Exits(node, node, node if self.broken else None, node if self.continued else None)

    def targets(self) -> list[Node]:
        return [node for node in (self.raised, self.returned, self.broken, self.continued) if node is not None]


class Graph:
    """The flow of one function. `nodes` are in source order; `node_of` finds the node of a statement or `with` item."""

    def __init__(self, body: list[ast.stmt], local: set[str], parameters: set[str], points: Iterable[Point]) -> None:
        self.nodes: list[Node] = []
        self.node_of: dict[ast.AST, Node] = {}
        self._local = local
        self._points = {point.statement: point for point in points}
        exit_node = Node()
        self.entry = self._block(body, exit_node, _Exits(exit_node, exit_node))
        self.nodes.append(exit_node)
        self.nodes.sort(key=lambda node: node.position)
        self._find_live()
        self._find_origins({name: frozenset({PARAMETER if name in parameters else UNBOUND}) for name in local})

    def live_after(self, node: Node) -> dict[str, int]:
        """Names that may be read after the node before they are bound again, each with the first line that reads it."""
        live: dict[str, int] = {}
        for following in node.after:
            _merge_lines(live, following.live)
        return live

    def reaches_a_point(self, node: Node) -> bool:
        waiting, seen = [node], {node}
        while waiting:
            current = waiting.pop()
            if current.point is not None:
                return True
            new = {*current.after, *current.raised} - seen
            seen |= new
            waiting += new
        return False

    def facts_after(self, node: Node) -> Facts:
        return _apply(node, node.before or {})

    # Built from the end to the start: when a statement is built, what follows it is known.

    def _node(
        self, origin: ast.AST, after: list[Node], exits: _Exits, *parts: ast.AST | None, at: ast.AST | None = None
    ) -> Node:
        names = names_in(*parts)
        local = self._local
        outer = (names.binds | names.unbinds) - local
        names.reads = {name: line for name, line in names.reads.items() if name in local}
        names.later = {name: line for name, line in names.later.items() if name in local}
        names.binds &= local
        names.maybe &= local
        place = at or origin
        position = (getattr(place, "lineno", 0), getattr(place, "col_offset", 0))
        node = Node(names, origin, position, after, [exits.raised])
        node.outer = outer
        self.nodes.append(node)
        self.node_of.setdefault(origin, node)
        return node

    def _block(self, statements: list[ast.stmt], after: Node, exits: _Exits) -> Node:
        for statement in reversed(statements):
            after = self._statement(statement, after, exits)
        return after

    def _statement(self, statement: ast.stmt, after: Node, exits: _Exits) -> Node:
        build = self._BUILDERS.get(type(statement))
        if build is not None:
            return build(self, statement, after, exits)
        node = self._node(statement, [after], exits, statement)
        node.point = self._points.get(statement)  # type: ignore[call-overload]
        return node

    def _return(self, statement: ast.Return, after: Node, exits: _Exits) -> Node:
        return self._node(statement, [exits.returned], exits, statement)

    def _raise(self, statement: ast.Raise, after: Node, exits: _Exits) -> Node:
        return self._node(statement, [], exits, statement)

    def _jump(self, statement: ast.Break | ast.Continue, after: Node, exits: _Exits) -> Node:
        target = exits.broken if isinstance(statement, ast.Break) else exits.continued
        assert target is not None
        return self._node(statement, [target], exits)

    def _if(self, statement: ast.If, after: Node, exits: _Exits) -> Node:
        branches = [self._block(statement.body, after, exits), self._block(statement.orelse, after, exits)]
        return self._node(statement, branches, exits, statement.test)

    def _while(self, statement: ast.While, after: Node, exits: _Exits) -> Node:
        head = self._node(statement, [], exits, statement.test)
        inside = exits._replace(broken=after, continued=head)
        head.after += [self._block(statement.body, head, inside), self._block(statement.orelse, after, exits)]
        return head

    def _for(self, statement: ast.For | ast.AsyncFor, after: Node, exits: _Exits) -> Node:
        head = self._node(statement, [], exits)
        inside = exits._replace(broken=after, continued=head)
        body = self._block(statement.body, head, inside)
        bind = self._node(statement, [body], exits, statement.target)
        head.after += [bind, self._block(statement.orelse, after, exits)]
        return self._node(statement, [head], exits, statement.iter)

    def _with(self, statement: ast.With | ast.AsyncWith, after: Node, exits: _Exits) -> Node:
        # A context manager may swallow what was raised inside it, and may itself raise on exit.
        leave = self._node(statement, [after], exits)
        inner = self._block(statement.body, leave, exits._replace(raised=leave))
        for item in reversed(statement.items):
            context = item.context_expr
            inner = self._node(item, [inner], exits, context, item.optional_vars, at=context)
        return inner

    def _try(self, statement: ast.Try | ast.TryStar, after: Node, exits: _Exits) -> Node:
        if statement.finalbody:
            leave = Node(after=[after, *exits.targets()], raised=[exits.raised])
            self.nodes.append(leave)
            after = self._block(statement.finalbody, leave, exits)
            exits = exits.through(after)
        dispatch = Node(after=[exits.raised], raised=[exits.raised])
        self.nodes.append(dispatch)
        for handler in statement.handlers:
            end = self._node(handler, [after], exits)
            if handler.name:
                end.names.unbinds.add(handler.name)
            body = self._block(handler.body, end, exits)
            start = self._node(handler, [body], exits, handler.type)
            if handler.name:
                (start.names.binds if handler.name in self._local else start.outer).add(handler.name)
            dispatch.after.append(start)
        orelse = self._block(statement.orelse, after, exits)
        return self._block(statement.body, orelse, exits._replace(raised=dispatch))

    def _match(self, statement: ast.Match, after: Node, exits: _Exits) -> Node:
        following = after
        for case in reversed(statement.cases):
            body = self._block(case.body, after, exits)
            if case.guard is not None:
                body = self._node(case, [body, following], exits, case.guard, at=case.guard)
            # The captures are bound before the guard is evaluated, and not at all if the pattern does not match.
            captures = self._node(case, [body], exits, case.pattern, at=case.pattern)
            following = self._node(case, [captures, following], exits, *_values_of(case.pattern), at=case.pattern)
        return self._node(statement, [following], exits, statement.subject)

    _BUILDERS: dict[type[ast.stmt], Callable[..., Node]] = {
        ast.Return: _return,
        ast.Raise: _raise,
        ast.Break: _jump,
        ast.Continue: _jump,
        ast.If: _if,
        ast.While: _while,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Try: _try,
        ast.TryStar: _try,
        ast.Match: _match,
    }

    # Facts

    def _find_live(self) -> None:
        is_changed = True
        while is_changed:
            is_changed = False
            for node in reversed(self.nodes):
                live = dict(node.names.all_reads)
                kept = self.live_after(node)
                # A checkpoint replaces its names with their decoded copies, so it needs the names themselves.
                bound = node.names.binds - node.names.maybe - set(live)
                _merge_lines(live, {name: line for name, line in kept.items() if name not in bound})
                for handler in node.raised:
                    _merge_lines(live, handler.live)
                if live != node.live:
                    node.live = live
                    is_changed = True

    def _find_origins(self, start: Facts) -> None:
        self.entry.before = start
        waiting = [self.entry]
        while waiting:
            node = waiting.pop()
            before = node.before or {}
            after = _apply(node, before)
            for target in node.after:
                if _join(target, after):
                    waiting.append(target)
            for target in node.raised:
                # A statement may raise before or after it binds.
                if _join(target, before) | _join(target, after):
                    waiting.append(target)


def _values_of(pattern: ast.pattern) -> list[ast.expr]:
    """What a pattern evaluates."""
    return [node for node in ast.walk(pattern) if isinstance(node, ast.expr)]


def _apply(node: Node, before: Facts) -> Facts:
    if node.point is not None:
        return {**before, **dict.fromkeys(node.point.binds, frozenset({SAVED}))}
    if not node.names.binds and not node.names.unbinds:
        return before
    after = dict(before)
    for name in node.names.binds:
        origins = before.get(name, frozenset())
        # A saved name stays saved: the next checkpoint stores its new value.
        new: set[Origin] = set(origins if name in node.names.maybe else origins & {SAVED})
        if origins - {SAVED}:
            new.add(node)
        after[name] = frozenset(new)
    for name in node.names.unbinds:
        after[name] = frozenset({UNBOUND})
    return after


def _join(node: Node, facts: Facts) -> bool:
    if node.before is None:
        node.before = dict(facts)
        return True
    is_changed = False
    for name, origins in facts.items():
        known = node.before.get(name, frozenset())
        if not origins <= known:
            node.before[name] = known | origins
            is_changed = True
    return is_changed


def _merge_lines(into: dict[str, int], found: dict[str, int]) -> None:
    for name, line in found.items():
        if line < into.get(name, line + 1):
            into[name] = line
