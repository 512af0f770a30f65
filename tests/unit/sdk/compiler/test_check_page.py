"""docs/check.md: a section for each code, whose example triggers that code, while its alternative triggers none."""

import ast
import importlib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trigger_sdk import cli
from trigger_sdk.agent.inspection import manifest_of
from trigger_sdk.compiler.points import _PLACES
from trigger_sdk.tasks import registry

from tests.unit.sdk.sources import forget_modules

ROOT = Path(__file__).parents[4]
SDK = ROOT / "sdk" / "python" / "trigger_sdk"
HEAD = "from trigger_sdk import checkpoint, step, task\n"
PAGE = (ROOT / "docs" / "check.md").read_text()
SECTIONS = {
    match["code"]: match["text"]
    for match in re.finditer(r"^### `(?P<code>\w+)`\n(?P<text>.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
WITHOUT_EXAMPLE = {"no_folder", "stale_source"}


def codes_in(tree: ast.AST) -> set[str]:
    """The literal codes in calls that create a problem."""
    makers = {"_at", "Problem", "RegistrationError", "SourceError", "_hint", "_problem", "problem"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {
        call: call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", None) for call in calls
    }
    arguments = itertools.chain.from_iterable(call.args for call in calls if names[call] in makers)
    texts = [node.value for node in arguments if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {text for text in texts if re.fullmatch(r"[a-z]+(_[a-z]+)*", text)}


def test_page_has_a_section_for_each_code_and_no_other() -> None:
    found: set[str] = {f"checkpoint_in_{place}" for place in _PLACES}
    for path in SDK.rglob("*.py"):
        found |= codes_in(ast.parse(path.read_text()))

    assert found == set(SECTIONS)
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) == len(SECTIONS)


def write_example(folder: Path, text: str) -> None:
    for language, file, source in re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if file:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(source)
        elif language == "python":
            (folder / "tasks.py").write_text(HEAD + source)
        else:
            (folder / "trigger.toml").write_text(source)


@pytest.fixture
def codes_of(tmp_path: Path) -> Iterator[Callable[[Path], list[str]]]:
    """What the check says about a folder. In this process, because a hundred others would take half a minute."""

    def codes_of(folder: Path) -> list[str]:
        registry.clear()
        forget_modules(tmp_path)
        sys.path[:] = before
        importlib.invalidate_caches()
        manifest = manifest_of(str(folder))
        return [row["code"] for row in [*manifest["errors"], *manifest["hints"]]]

    before = list(sys.path)
    yield codes_of
    sys.path[:] = before


@pytest.mark.parametrize("code", sorted(set(SECTIONS) - WITHOUT_EXAMPLE))
def test_example_of_the_page_gives_its_code_and_what_it_shows_instead_none(
    tmp_path: Path, codes_of: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str], code: str
) -> None:
    wrong, found, right = SECTIONS[code].partition("\nInstead")
    assert found
    for name, text in (("wrong", wrong), ("right", right)):
        (tmp_path / name).mkdir()
        write_example(tmp_path / name, text)
        assert list((tmp_path / name).iterdir())

    if code == "import_exit":  # it would end this process
        assert cli.execute(["check", "--json", str(tmp_path / "wrong")]) == 1
        assert [problem["code"] for problem in json.loads(capsys.readouterr().out)["problems"]] == [code]
    else:
        assert codes_of(tmp_path / "wrong") == [code]
    assert codes_of(tmp_path / "right") == []


def test_sections_without_an_example_have_none() -> None:
    assert {code for code, text in SECTIONS.items() if "```" not in text} == WITHOUT_EXAMPLE


def test_folder_that_is_not_there_has_its_code(tmp_path: Path) -> None:
    assert [row["code"] for row in manifest_of(str(tmp_path / "gone"))["errors"]] == ["no_folder"]
