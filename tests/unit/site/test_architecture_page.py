"""`docs/architecture.md` names what is there: each file exists, and each name is defined in its file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MENTIONS = sorted(set(re.findall(r"`([\w./-]+/[\w./-]*?)(?::(\w+))?`", PAGE)))
WAYS = ("Trigger", "Claim", "Checkpoint", "Finish", "Cancel", "Lease end", "Live update")


def definitions(source: str) -> Iterator[str]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname for alias in node.names if alias.asname == alias.name)


@pytest.mark.parametrize(("path", "name"), MENTIONS, ids=[":".join(filter(None, each)) for each in MENTIONS])
def test_what_the_page_names_is_there(path: str, name: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()
    if name:
        assert name in set(definitions((ROOT / path).read_text(encoding="utf-8")))


def test_each_way_names_at_least_three_places() -> None:
    ways = dict(re.findall(r"^### \d\. (.+?)\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL))

    assert tuple(ways) == WAYS
    assert all(len(set(re.findall(r"`[\w./-]+/[\w./-]+(?::\w+)?`", text))) >= 3 for text in ways.values())
