"""Prints how the code is laid out; fails if imports form a circle or a folder is too full to survey."""

import ast
import statistics
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "apps": ROOT / "apps",
    "trigger_site": ROOT / "trigger_site",
    "trigger_sdk": ROOT / "sdk/python/trigger_sdk",
}
LONG_FILE, FULL_FOLDER = 300, 25

Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    found = {}
    for name, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            if "migrations" not in path.parts:
                parts = [name, *path.relative_to(folder).with_suffix("").parts]
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(found: dict[str, Path], trees: dict[str, ast.Module]) -> Graph:
    """Returns who imports whom, including imports within functions and for the type checker."""
    graph: Graph = defaultdict(set)
    for module, tree in trees.items():
        package = module if found[module].name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                graph[module] |= {alias.name for alias in node.names if alias.name in found}
            elif isinstance(node, ast.ImportFrom):
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], node.module or ""])
                source = base.strip(".") if node.level else node.module or ""
                for alias in node.names:
                    graph[module].add(f"{source}.{alias.name}" if f"{source}.{alias.name}" in found else source)
    return {module: {target for target in graph[module] if target in found and target != module} for module in found}


def circles(graph: Graph) -> list[list[str]]:
    """Returns groups of modules that import each other (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            place = stack.index(module)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return groups


def function_lengths(trees: dict[str, ast.Module]) -> list[int]:
    """Counts lines from `def` to the last statement, including decorators and docstring."""
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def main() -> int:
    found = modules()
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in found.items()}
    folders = Counter(path.parent.relative_to(ROOT) for path in found.values() if path.name != "__init__.py")
    lines = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in found.values()}
    lengths = function_lengths(trees)
    templates = [line for path in (ROOT / "templates").rglob("*.html") for line in path.read_text().splitlines()]
    groups = circles(import_graph(found, trees))

    print(f"modules: {len(found)}, lines: {sum(lines.values()):,}")
    print("fullest folders:", ", ".join(f"{folder} {count}" for folder, count in folders.most_common(5)))
    full = [folder for folder, count in folders.items() if count > FULL_FOLDER]
    print(f"folders of more than {FULL_FOLDER} modules: {len(full)}")
    long = sorted(((count, path) for path, count in lines.items() if count > LONG_FILE), reverse=True)
    print(f"modules of more than {LONG_FILE} lines: {len(long)}", *(f"\n  {path} {count}" for count, path in long))
    print(f"circles of imports: {len(groups)}", *(f"\n  {' '.join(group)}" for group in groups))
    deciles = statistics.quantiles(lengths, n=10)
    print(f"functions: {len(lengths):,}, median {statistics.median(lengths):g} lines, p90 {deciles[8]:g}")
    print(f"longest line of a template: {max(map(len, templates))} characters")
    return 1 if groups or full else 0


if __name__ == "__main__":
    raise SystemExit(main())
