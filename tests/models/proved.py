"""Which searches need not run again: those of models that are as they were when `make prove` last went through them.

The models know nothing of the product, so nothing but their own files can change what a search finds. `proved.json`
holds a hash of these files for each module of tests.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
RECORD = HERE / "proved.json"
PACKAGE = "tests.models."


def unchanged_modules() -> set[Path]:
    recorded = json.loads(RECORD.read_text())
    return {path for path in HERE.glob("test_*.py") if recorded.get(path.name) == hash_of(path)}


def record(modules: set[Path]) -> None:
    """These were gone through without a failure."""
    recorded = json.loads(RECORD.read_text()) | {path.name: hash_of(path) for path in modules}
    known = {name: recorded[name] for name in sorted(recorded) if (HERE / name).exists()}
    RECORD.write_text(json.dumps(known, indent=2) + "\n")


def hash_of(module: Path) -> str:
    """Of the module and all that it imports from this folder."""
    found = hashlib.sha256()
    for path in sorted(_closure(module)):
        found.update(f"{path.name}\n{path.read_text()}\n".encode())
    return found.hexdigest()


def _closure(module: Path) -> set[Path]:
    found, waiting = set[Path](), [module]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return found


def _imported(module: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            yield HERE / f"{str(node.module).removeprefix(PACKAGE)}.py"
