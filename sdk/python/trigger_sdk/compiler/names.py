"""Finds the local names that code reads, binds and unbinds, nested scopes included. Knows nothing of control flow."""

import ast
import functools
from collections.abc import Iterable, Iterator

Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*Function, ast.Lambda, ast.ClassDef)


class Names:
    """`reads` maps a name to the first line that reads it; `later` holds what a nested function reads when called.

    `maybe` are those of `binds` that may also keep their old value, as in `a and (b := 1)`.
    """

    __slots__ = ("binds", "later", "maybe", "reads", "unbinds")

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.later: dict[str, int] = {}
        self.binds: set[str] = set()
        self.maybe: set[str] = set()
        self.unbinds: set[str] = set()

    def bind(self, name: str) -> None:
        self.binds.add(name)
        self.maybe.discard(name)

    def bind_maybe(self, found: Iterable[str]) -> None:
        self.maybe.update(set(found) - self.binds)
        self.binds.update(found)

    def read(self, name: str, line: int) -> None:
        self.reads[name] = min(line, self.reads.get(name, line))

    @property
    def all_reads(self) -> dict[str, int]:
        return {**self.later, **self.reads}


def names_in(*nodes: ast.AST | None) -> Names:
    """The names of expressions and simple statements, seen from the scope they are in."""
    names = Names()
    for node in nodes:
        if node is not None:
            _visit(node, names)
    return names


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def children(node: ast.AST) -> list[ast.AST]:
    """The direct children of a node, without those that only name an operator or a context; faster than `ast`'s."""
    found: list[ast.AST] = []
    for field in node._fields:
        if field not in _NO_NODES:
            value = getattr(node, field, None)
            if value.__class__ is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


_NO_NODES = frozenset({"ctx", "op", "ops", "id", "attr", "arg", "kind", "type_comment", "module", "level", "asname"})


def own_scope(body: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """All nodes below `body` that belong to its own scope; nested functions, classes and lambdas are not entered."""
    return _own_scope(tuple(body))


@functools.lru_cache(maxsize=64)
def _own_scope(body: tuple[ast.AST, ...]) -> list[ast.AST]:
    # Cached because half a dozen questions are asked about the same body.
    found: list[ast.AST] = []
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, _SCOPES):
            waiting += children(node)
    return found


def outer_names(body: Iterable[ast.AST]) -> set[str]:
    """The names that a scope declares `global` or `nonlocal`."""
    declared: set[str] = set()
    for node in own_scope(body):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            declared.update(node.names)
    return declared


def local_names(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names in the function's own frame."""
    return set(_local_names(node))


@functools.lru_cache(maxsize=128)
def _local_names(node: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    names = names_in(*node.body)
    local = {argument.arg for argument in parameters(node.args)} | names.binds | names.unbinds
    for inner in own_scope(node.body):
        if isinstance(inner, ast.ExceptHandler) and inner.name:
            local.add(inner.name)
    return frozenset(local - outer_names(node.body))


def deleting(body: Iterable[ast.AST]) -> Iterator[ast.Name | ast.ExceptHandler]:
    """What deletes a name of the scope: `del` and `except … as`, even in nested functions that declare it nonlocal."""
    for node in own_scope(body):
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)) or (
            isinstance(node, ast.ExceptHandler) and node.name
        ):
            yield node
        elif isinstance(node, (*Function, ast.ClassDef)):
            declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Nonlocal) for name in inner.names}
            for inner in deleting(node.body):
                if (inner.id if isinstance(inner, ast.Name) else inner.name) in declared:
                    yield inner


def set_outside(node: ast.AST) -> tuple[set[str], set[str]]:
    """The names that functions and classes nested in a statement set as `global` or as `nonlocal`."""
    outside: tuple[set[str], set[str]] = set(), set()
    for inner in ast.walk(node):
        if isinstance(inner, (*Function, ast.ClassDef)):
            names = names_in(*inner.body)
            for declared in own_scope(inner.body):
                if isinstance(declared, (ast.Global, ast.Nonlocal)):
                    is_nonlocal = isinstance(declared, ast.Nonlocal)
                    outside[is_nonlocal].update((names.binds | names.unbinds) & set(declared.names))
    return outside


def set_by_nested_functions(body: Iterable[ast.AST]) -> set[str]:
    """The names that functions nested in the scope declare `nonlocal`, and those that generator expressions bind.

    The flow of the scope does not show when either of them runs.
    """
    found: set[str] = set()
    for node in own_scope(body):
        if isinstance(node, (*Function, ast.ClassDef)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Nonlocal):
                    found.update(inner.names)
        elif isinstance(node, ast.GeneratorExp):
            found |= names_in(node).binds
    return found


def _visit(node: ast.AST, names: Names) -> None:
    if isinstance(node, ast.Name):
        _visit_name(node, names)
    elif isinstance(node, Function):
        _visit_function(node, names)
    elif isinstance(node, ast.Lambda):
        _visit_all([*node.args.defaults, *node.args.kw_defaults], names)
        _merge_free(node.args, [node.body], names.later)
    elif isinstance(node, ast.ClassDef):
        _visit_class(node, names)
    elif isinstance(node, Comprehension):
        _visit_comprehension(node, names)
    elif isinstance(node, (ast.BoolOp, ast.IfExp, ast.Compare, ast.Assert)):
        _visit_branching(node, names)
    elif isinstance(node, ast.AugAssign):
        if isinstance(node.target, ast.Name):
            names.read(node.target.id, node.lineno)
        _visit_all([node.target, node.value], names)
    elif isinstance(node, ast.AnnAssign):
        # Annotations of locals are never evaluated, and without a value nothing is bound.
        is_bound = node.value is not None or not isinstance(node.target, ast.Name)
        _visit_all([node.target if is_bound else None, node.value], names)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            names.bind(alias.asname or alias.name.partition(".")[0])
    elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
        captured = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if captured is not None:
            names.bind(captured)
        _visit_all(children(node), names)
    else:
        _visit_all(children(node), names)
        if type(node).__name__ in _LAZY:
            _keep_first(names.later, names_in(*children(node)).all_reads)


_LAZY = frozenset({"TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple"})
"""Syntax of Python 3.12 and later whose names are read at the first use of its result."""


def _visit_name(node: ast.Name, names: Names) -> None:
    if isinstance(node.ctx, ast.Store):
        names.bind(node.id)
    else:
        # A name must exist to be deleted.
        names.read(node.id, node.lineno)
    if isinstance(node.ctx, ast.Del):
        names.unbinds.add(node.id)


def _visit_branching(node: ast.BoolOp | ast.IfExp | ast.Compare | ast.Assert, names: Names) -> None:
    """Expressions whose later parts may be skipped, so names bound there may keep their old value."""
    always: list[ast.AST]
    sometimes: list[ast.AST | None]
    if isinstance(node, ast.BoolOp):
        always, sometimes = [node.values[0]], [*node.values[1:]]
    elif isinstance(node, ast.Compare):
        always, sometimes = [node.left, node.comparators[0]], [*node.comparators[1:]]
    elif isinstance(node, ast.IfExp):
        always, sometimes = [node.test], [node.body, node.orelse]
    else:
        always, sometimes = [node.test], [node.msg]
    _visit_all(always, names)
    _visit_maybe(names_in(*sometimes), names)


def _visit_maybe(inner: Names, names: Names) -> None:
    for name, line in inner.reads.items():
        names.read(name, line)
    _keep_first(names.later, inner.later)
    names.bind_maybe(inner.binds)


def _visit_all(nodes: Iterable[ast.AST | None], names: Names) -> None:
    for node in nodes:
        if node is not None:
            _visit(node, names)


def _visit_function(node: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> None:
    annotations = [argument.annotation for argument in parameters(node.args)]
    _visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *annotations, node.returns], names)
    _visit_all(getattr(node, "type_params", []), names)
    names.bind(node.name)
    _merge_free(node.args, node.body, names.later)


def _visit_class(node: ast.ClassDef, names: Names) -> None:
    _visit_all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)], names)
    _visit_all(getattr(node, "type_params", []), names)
    inner = names_in(*node.body)
    for name, line in inner.reads.items():
        names.read(name, line)
    _keep_first(names.later, inner.later)
    # The body of a class runs at once, and `nonlocal` in it sets the names around it.
    names.bind_maybe(inner.binds & outer_names(node.body))
    names.bind(node.name)


def _visit_comprehension(node: ast.AST, names: Names) -> None:
    assert isinstance(node, Comprehension)
    targets = names_in(*(generator.target for generator in node.generators))
    parts: list[ast.expr] = [part for g in node.generators for part in (g.iter, *g.ifs)][1:]
    parts.extend([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
    inner = names_in(*parts)
    _keep_first(inner.reads, targets.reads)
    for name in targets.binds:
        inner.reads.pop(name, None)
        inner.later.pop(name, None)
    if isinstance(node, ast.GeneratorExp):
        # Its parts run when it is consumed.
        _keep_first(inner.later, inner.reads)
    _visit(node.generators[0].iter, names)
    # A walrus in a comprehension binds in the scope around it, provided the comprehension has an item.
    _visit_maybe(inner, names)


def _merge_free(arguments: ast.arguments, body: Iterable[ast.AST], into: dict[str, int]) -> None:
    body = list(body)
    inner = names_in(*body)
    local = {argument.arg for argument in parameters(arguments)} | (inner.binds | inner.unbinds) - outer_names(body)
    for node in own_scope(body):
        if isinstance(node, ast.ExceptHandler) and node.name:
            local.add(node.name)
    _keep_first(into, {name: line for name, line in inner.all_reads.items() if name not in local})


def _keep_first(into: dict[str, int], found: dict[str, int]) -> None:
    for name, line in found.items():
        into[name] = min(line, into.get(name, line))
