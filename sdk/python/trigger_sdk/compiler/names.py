"""Which local names a piece of code reads, binds and unbinds, nested scopes included. Knows nothing of control flow."""

import ast
from collections.abc import Iterable

Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class Names:
    """`reads` maps a name to the first line that reads it; `later` holds what a nested function reads when called."""

    __slots__ = ("binds", "later", "reads", "unbinds")

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.later: dict[str, int] = {}
        self.binds: set[str] = set()
        self.unbinds: set[str] = set()

    def read(self, name: str, line: int) -> None:
        self.reads[name] = min(line, self.reads.get(name, line))

    @property
    def all_reads(self) -> dict[str, int]:
        return {**self.later, **self.reads}


def names_in(*nodes: ast.AST | None) -> Names:
    """The names of expressions and simple statements, seen from the scope that they stand in."""
    names = Names()
    for node in nodes:
        if node is not None:
            _visit(node, names)
    return names


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def own_scope(body: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """All nodes below `body` that belong to its own scope; nested functions, classes and lambdas are not entered."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*Function, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))


def outer_names(body: Iterable[ast.AST]) -> set[str]:
    """The names that a scope declares `global` or `nonlocal`."""
    declared: set[str] = set()
    for node in own_scope(body):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            declared.update(node.names)
    return declared


def set_by_nested_functions(body: Iterable[ast.AST]) -> set[str]:
    """The names that functions nested in the scope declare `nonlocal`."""
    found: set[str] = set()
    for node in own_scope(body):
        if isinstance(node, (*Function, ast.ClassDef)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Nonlocal):
                    found.update(inner.names)
    return found


def _visit(node: ast.AST, names: Names) -> None:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            names.read(node.id, node.lineno)
        else:
            (names.binds if isinstance(node.ctx, ast.Store) else names.unbinds).add(node.id)
    elif isinstance(node, Function):
        _visit_function(node, names)
    elif isinstance(node, ast.Lambda):
        _visit_all([*node.args.defaults, *node.args.kw_defaults], names)
        _merge_free(node.args, [node.body], names.later)
    elif isinstance(node, ast.ClassDef):
        _visit_class(node, names)
    elif isinstance(node, Comprehension):
        _visit_comprehension(node, names)
    elif isinstance(node, ast.AugAssign):
        if isinstance(node.target, ast.Name):
            names.read(node.target.id, node.lineno)
        _visit_all([node.target, node.value], names)
    elif isinstance(node, ast.AnnAssign):
        # Annotations of locals are never evaluated, and without a value nothing is bound.
        is_bound = node.value is not None or not isinstance(node.target, ast.Name)
        _visit_all([node.target if is_bound else None, node.value], names)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        names.binds.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
        captured = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if captured is not None:
            names.binds.add(captured)
        _visit_all(ast.iter_child_nodes(node), names)
    else:
        _visit_all(ast.iter_child_nodes(node), names)


def _visit_all(nodes: Iterable[ast.AST | None], names: Names) -> None:
    for node in nodes:
        if node is not None:
            _visit(node, names)


def _visit_function(node: ast.FunctionDef | ast.AsyncFunctionDef, names: Names) -> None:
    annotations = [argument.annotation for argument in parameters(node.args)]
    _visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *annotations, node.returns], names)
    names.binds.add(node.name)
    _merge_free(node.args, node.body, names.later)


def _visit_class(node: ast.ClassDef, names: Names) -> None:
    _visit_all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)], names)
    inner = names_in(*node.body)
    for name, line in inner.reads.items():
        names.read(name, line)
    _keep_first(names.later, inner.later)
    names.binds.add(node.name)


def _visit_comprehension(node: ast.AST, names: Names) -> None:
    assert isinstance(node, Comprehension)
    inner = Names()
    targets = Names()
    for generator in node.generators:
        _visit(generator.target, targets)
        _visit_all([generator.iter, *generator.ifs], inner)
    _visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)
    first = names_in(node.generators[0].iter)
    for name, line in inner.reads.items():
        if name not in targets.binds or name in first.reads:
            names.read(name, line)
    _keep_first(names.later, {name: line for name, line in inner.later.items() if name not in targets.binds})
    # A walrus in a comprehension binds in the scope around it.
    names.binds.update(inner.binds)


def _merge_free(arguments: ast.arguments, body: Iterable[ast.AST], into: dict[str, int]) -> None:
    body = list(body)
    inner = names_in(*body)
    local = {argument.arg for argument in parameters(arguments)} | inner.binds - outer_names(body)
    for node in own_scope(body):
        if isinstance(node, ast.ExceptHandler) and node.name:
            local.add(node.name)
    _keep_first(into, {name: line for name, line in inner.all_reads.items() if name not in local})


def _keep_first(into: dict[str, int], found: dict[str, int]) -> None:
    for name, line in found.items():
        into[name] = min(line, into.get(name, line))
