"""The Python of the pages on checkpoints, idempotency and tests, run exactly as shown, and refused where they say so.

A word after ```python says what an example shows: `refused CODE` and `raises ERROR` speak for themselves; `lost` is
something that does not survive a crash, `charges-twice` an effect without a right key, `stops` a task that gives up.
"""

import ast
import builtins
import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from trigger_sdk import AbortRun, RegistrationError, cli, errors, registry, testing
from trigger_sdk.cli.again import replay_options
from trigger_sdk.tasks import Task
from trigger_sdk.testing import Result
from trigger_sdk.testing.attempt import Runtime
from trigger_sdk.values import codec, custom

from tests.unit.sdk import docs_world
from tests.unit.sdk.docs_world import DoubleCharge, Killed, world
from tests.unit.sdk.in_process import run
from tests.unit.sdk.sources import load_module

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("checkpoints.md", "idempotency.md", "testing.md", "values.md")
HEAD = "from tests.unit.sdk.docs_world import *"
MARKS = {"", "refused", "raises", "lost", "charges-twice", "stops"}
PAYLOAD: dict[str, Any] = {"order_id": "A1", "count": 3, "first": 1, "second": 2, "number": 1, "words": ["tea", "jam"]}
ATTEMPTS_MAX = 3
FIXTURES = {"trigger_run": testing.run, "crash_everywhere": testing.crash_everywhere}


class Example(NamedTuple):
    page: str
    line: int
    mark: str
    detail: str
    source: str

    def __repr__(self) -> str:
        return f"{self.page}:{self.line}"

    def load(self, folder: Path) -> ModuleType:
        return load_module(folder, self.source, HEAD)


def examples_of(page: str) -> list[Example]:
    text = (DOCS / page).read_text()
    found = []
    for match in re.finditer(
        r"^```python ?(?P<mark>[^ \n]*) ?(?P<detail>[^\n]*)\n(?P<source>.*?)^```$", text, re.M | re.S
    ):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Example(page, line, match["mark"], match["detail"], match["source"]))
    return found


EXAMPLES = [example for page in PAGES for example in examples_of(page)]


def marked(*marks: str) -> Callable[[Any], Any]:
    chosen = [example for example in EXAMPLES if example.mark in marks]
    return pytest.mark.parametrize("example", chosen, ids=repr)


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world.reset()
    # Tasks of other test modules may have the same id as an example; `kept_registry` puts them back.
    registry.clear()
    monkeypatch.setattr(custom, "_by_kind", dict(custom._by_kind))
    monkeypatch.setattr(custom, "_by_name", dict(custom._by_name))


def only_task() -> Task:
    tasks = [task for task in registry.values() if "tasks_" in task.file]
    assert len(tasks) == 1
    return tasks[0]


def payload_of(task: Task) -> dict[str, Any]:
    return {name: PAYLOAD[name] for name in inspect.signature(task.function).parameters}


def finish(task: Task) -> Result:
    """Runs a task through its failures, one attempt after another."""
    earlier: BaseException | None = None
    for _ in range(ATTEMPTS_MAX):
        try:
            return run(task.function, payload_of(task), resume=earlier)
        except (ConnectionError, Killed) as error:
            earlier = error
    raise AssertionError(f"{task.id} failed {ATTEMPTS_MAX} times") from earlier


def test_every_mark_is_known() -> None:
    assert {example.mark for example in EXAMPLES} == MARKS
    for page in PAGES:
        assert len(examples_of(page)) == len(re.findall(r"^```python", (DOCS / page).read_text(), re.MULTILINE))


@marked("")
def test_a_crash_after_anything_that_is_saved_changes_nothing(example: Example, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()
    whole = run(task.function, payload_of(task))
    calls = sorted(world.calls)

    for saved in whole.stored:
        world.reset()
        result = run(task.function, payload_of(task), crash_after=saved.key)

        assert result.output == whole.output
        if "gather" in example.source:  # what was running at the crash runs again
            assert set(world.calls) == set(calls)
        else:
            assert sorted(world.calls) == calls
    assert whole.stored


@marked("")
@pytest.mark.parametrize("failure", ["failing", "reply_lost", "killed"])
def test_no_call_that_fails_changes_anything(example: Example, failure: str, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()
    whole = run(task.function, payload_of(task))
    count = world.count

    for number in range(1, count + 1):
        world.reset(**{failure: number})

        assert finish(task).output == whole.output, number
        assert world.is_met
    assert count


@marked("")
def test_after_a_kill_only_what_was_not_saved_runs_again(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Runtime._save

    def noted(runtime: Runtime, *arguments: Any) -> None:
        save(runtime, *arguments)
        world.saved_at.append(world.count)

    monkeypatch.setattr(Runtime, "_save", noted)
    example.load(tmp_path)
    task = only_task()
    run(task.function, payload_of(task))
    count, saved_at = world.count, world.saved_at

    for number in range(1, count + 1):
        world.reset(killed=number)
        finish(task)

        if "gather" not in example.source:
            assert world.count <= count + number - max((at for at in saved_at if at < number), default=0)
    assert saved_at


@marked("")
def test_what_a_comment_after_the_return_says_is_true(example: Example, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()

    output = run(task.function, payload_of(task)).output

    for said in re.findall(r"^ +return .*  # (.+)$", example.source, re.MULTILINE):
        assert output == ast.literal_eval(said)


@marked("")
def test_tests_that_are_shown_pass(example: Example, tmp_path: Path) -> None:
    module = example.load(tmp_path)

    for name, shown in vars(module).items():
        if name.startswith("test_"):
            world.reset()
            shown(**{fixture: FIXTURES[fixture] for fixture in inspect.signature(shown).parameters})


def test_the_page_shows_tests() -> None:
    assert sum(example.source.count("def test_") for example in EXAMPLES) == 4


@marked("refused")
def test_refused_examples_are_refused_with_their_code(example: Example, tmp_path: Path) -> None:
    with pytest.raises(RegistrationError) as refusal:
        example.load(tmp_path)

    assert [problem.code for problem in refusal.value.problems] == [example.detail]


@marked("refused")
def test_the_code_of_a_refusal_is_named_above_its_example(example: Example) -> None:
    before = (DOCS / example.page).read_text().splitlines()[: example.line - 1]

    section = "\n".join(before).rpartition("\n## ")[2]
    assert f"(check.md#{example.detail})" in section


@marked("raises")
def test_examples_that_raise_raise_their_error(example: Example, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()

    expected = getattr(errors, example.detail, None) or getattr(builtins, example.detail)

    with pytest.raises(expected) as failure:
        run(task.function, payload_of(task))

    assert type(failure.value) is expected


@marked("lost")
def test_what_is_said_to_be_lost_is_lost(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example.load(tmp_path)
    task = only_task()
    whole = run(task.function, payload_of(task))
    world.reset(failing=world.count)
    with pytest.raises(ConnectionError) as failure:
        run(task.function, payload_of(task))
    other = tmp_path / "another-attempt"
    other.mkdir()
    monkeypatch.chdir(other)
    del registry[task.id]
    example.load(other)

    result = run(only_task().function, payload_of(task), resume=failure.value)

    assert result.resumed_from is not None
    assert result.output != whole.output
    assert not result.output


@marked("charges-twice")
def test_what_is_said_to_charge_twice_does(example: Example, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()
    run(task.function, payload_of(task))
    world.reset(reply_lost=1)

    with pytest.raises(DoubleCharge, match="A1 was already charged"):
        finish(task)


@marked("stops")
def test_what_is_said_to_stop_stops_where_the_effect_may_have_happened(example: Example, tmp_path: Path) -> None:
    example.load(tmp_path)
    task = only_task()
    assert run(task.function, payload_of(task)).output == "sent"
    world.reset(reply_lost=1)

    with pytest.raises(AbortRun, match="somebody must check"):
        finish(task)
    assert docs_world.ledger("mail") == ["your order A1"]


def rows_of_types() -> list[tuple[str, str]]:
    section = (DOCS / "checkpoints.md").read_text().partition("\n## Types\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \| `(.+)` \|$", section, re.MULTILINE)


@pytest.mark.parametrize(("python", "stored"), rows_of_types())
def test_types_are_stored_as_the_table_says(python: str, stored: str) -> None:
    value = eval(python, vars(docs_world))

    text = codec.encode(value)

    assert text.decode() == stored
    assert codec.decode(text) == value
    assert type(codec.decode(text)) is type(value)


def test_the_table_of_types_has_every_form_of_the_codec() -> None:
    from trigger_sdk.values.codec import _CONTAINERS
    from trigger_sdk.values.forms import READERS

    shown = set(re.findall(r'"\$type":"(\w+)"', " ".join(stored for _, stored in rows_of_types())))

    assert shown == {*READERS, *_CONTAINERS}


@pytest.mark.parametrize("name", ["checkpoints.md", "idempotency.md"])
def test_commands_are_ones_that_the_command_line_takes(name: str) -> None:
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]

    for line in lines:
        program, *arguments = shlex.split(line)
        options = cli._parser().parse_args(arguments)
        assert program == "trigger"
        if hasattr(options, "from_checkpoint"):
            replay_options(options)
    assert lines


def anchors_of(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", (DOCS / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", (DOCS / name).read_text())

    for file, anchor in links:
        assert (DOCS / (file or name)).exists(), file
        if anchor:
            assert anchor in anchors_of(file or name), (file, anchor)
    assert links
