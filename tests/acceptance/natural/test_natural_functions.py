"""Twelve functions as a newcomer writes them: what the check says, and that each ends the same wherever it crashes.

They lie in `tasks/` as they were written. Where the check refuses one, `Case.advice` is its message followed literally.
"""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import registry
from trigger_sdk.testing import crash_everywhere

from tests.acceptance.natural.world_server import World, running_world

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
AGAIN = "  # trigger: again"
MADE_AGAIN = "with `# trigger: again`, so that a resume makes it again"


@dataclass(frozen=True)
class Case:
    """`effects` are the requests of a run without a crash. `code` is of the one message that refuses the function,
    which says `says`; `advice` are lines with what it asks for instead, `added` is what it asks for besides."""

    payload: dict[str, Any]
    output: Any
    effects: list[str]
    code: str = ""
    says: str = ""
    advice: dict[str, str] = field(default_factory=dict)
    added: str = ""


CLIENT = "    client = httpx.AsyncClient(base_url=world.URL, timeout=10)"
CRM_CLIENT = '    client = httpx.Client(base_url=world.URL, headers={"X-Key": "demo"})'

CASES = {
    "transcode": Case(
        {"source": "{folder}/film.mov", "folder": "{folder}"},
        {"file": "{folder}/film-640.mp4", "bytes": 19, "codecs": ["h264", "aac"]},
        [],
    ),
    "send-invoice": Case(
        {"number": "R7", "to": "ada@example.org"}, {"total": Decimal("19.75"), "bytes": 62}, ["/mails"]
    ),
    "thumbnails": Case(
        {"names": ["a", "bb", "ccc"]}, {"height": 116}, ["/galleries"]
    ),
    "crawl": Case(
        {"start": "/"}, {"pages": 5}, ["/sitemaps"], "lost_name", MADE_AGAIN,
        {CLIENT: CLIENT + AGAIN},
    ),
    "answer": Case(
        {"question": "How much is 6*7?"}, {"answer": "It is 42.", "turns": 3},
        ["/model", "/model", "/model", "/answers"],
    ),
    "import-customers": Case(
        {"path": "{folder}/customers.csv"}, {"stored": 3, "refused": 2},
        ["/customers", "/customers", "/customers", "/reports"],
    ),
    "place-order": Case({"order_id": "A1"}, {}, ["/reservations", "/charges", "/shipments", "/receipts"]),
    "drip": Case(
        {"customer": "ada", "joined": "2026-03-28T09:30:00+01:00"},
        {"hours": 23, "at": datetime(2026, 3, 29, 7, 30, tzinfo=UTC)}, ["/mails", "/mails"],
    ),
    "sync-contacts": Case(
        {"since": "2026-01-01"}, 6, [f"/copies/{number}" for number in range(2, 8)],
        "lost_name", MADE_AGAIN, {CRM_CLIENT: CRM_CLIENT + AGAIN},
    ),
    "count-words": Case(
        {"documents": ["one", "two", "three"]}, [("a", 3), ("and", 3), ("the", 3)], ["/reports"]
    ),
    "report-sales": Case(
        {"month": "2026-05"}, {"best": "north", "amount": 40.75, "mean": 22.583333333333332}, ["/reports"]
    ),
    "weekly-report": Case(
        {"team": "core"}, {"hours": 15.5}, ["/reports"], "method", "`def weekly_report(team):`",
        {
            '    @task(id="weekly-report")\n': "",
            '        checkpoint("loaded", {"hours": hours})\n': "",
        },
        '''

@task(id="weekly-report")
def weekly_report(team: str):
    report = ReportService("Weekly report").weekly_report(team)
    checkpoint("reported", {"report": report})
    return report
''',
    ),
}  # fmt: skip
FILES = {
    "send-invoice": "invoice", "crawl": "crawler", "answer": "agent", "import-customers": "csv_batches",
    "place-order": "order", "sync-contacts": "crm_sync", "count-words": "map_reduce", "report-sales": "frames",
    "weekly-report": "service",
}  # fmt: skip


def text_of(name: str) -> str:
    return (HERE / "tasks" / f"{FILES.get(name, name)}.py").read_text()


def followed(name: str) -> str:
    """The function's file after its message was followed."""
    text = text_of(name)
    for line, instead in CASES[name].advice.items():
        assert text.count(line) == 1
        text = text.replace(line, instead)
    return text + CASES[name].added


def changed_lines(name: str) -> int:
    before, after = text_of(name).splitlines(), followed(name).splitlines()
    return max(len([line for line in before if line not in after]), len([line for line in after if line not in before]))


def check(folder: Path, name: str, text: str) -> list[dict[str, Any]]:
    """What `trigger check` says of a folder with this file."""
    folder.mkdir()
    shutil.copy(HERE / "tasks" / "world.py", folder)
    (folder / f"{FILES.get(name, name)}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", "from trigger_sdk.cli import main; main()", "check", "--json", str(folder)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "sdk" / "python")}, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert [task["id"] for task in said["tasks"]] == ([] if said["problems"] else [name]), done.stderr
    return list(said["problems"])


@pytest.mark.parametrize("name", CASES)
def test_it_is_accepted_or_refused_with_one_message_whose_advice_is_accepted(name: str, tmp_path: Path) -> None:
    case = CASES[name]

    problems = check(tmp_path / "written", name, text_of(name))

    assert [problem["code"] for problem in problems] == ([case.code] if case.code else []), problems
    assert all(case.says in problem["message"] for problem in problems), problems
    if case.code:
        assert check(tmp_path / "followed", name, followed(name)) == []


def test_eleven_of_twelve_need_at_most_one_line() -> None:
    counts = {name: changed_lines(name) for name in CASES}

    assert len(counts) == 12
    assert sum(count <= 1 for count in counts.values()) >= 11, counts


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with running_world() as world:
        monkeypatch.setenv("WORLD_URL", world.url)
        yield world


@pytest.fixture
def function(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The task, imported as its folder's module; the folder has the files and programs that it reads."""
    name = request.param
    folder = tmp_path / "tasks"
    check(folder, name, followed(name))
    (tmp_path / "film.mov").write_bytes(b"frames")
    (tmp_path / "customers.csv").write_text("name,email\na,a@x\nb,\nc,c@x\nd,nobody\ne,e@x\n")
    monkeypatch.setenv("PATH", f"{HERE / 'programs'}:/usr/bin:/bin")
    monkeypatch.syspath_prepend(str(folder))
    for module in ("world", FILES.get(name, name)):
        monkeypatch.delitem(sys.modules, module, raising=False)
    importlib.import_module(FILES.get(name, name))
    yield registry[name].function
    del registry[name]


def filled(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: filled(each, folder) for name, each in value.items()}
    return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


def without_ids(output: Any) -> Any:
    """Without what the others' systems gave names to."""
    if not isinstance(output, dict):
        return output
    return {
        name: value
        for name, value in output.items()
        if name not in ("gallery", "sitemap", "charge", "shipment", "report")
    }


@pytest.mark.parametrize(("name", "function"), [(name, name) for name in CASES], indirect=["function"])
def test_it_ends_the_same_wherever_it_crashes(name: str, function: Any, world: World, tmp_path: Path) -> None:
    case = CASES[name]

    before: list[list[str]] = []  # what had been asked of the world when each run began

    def begin() -> None:
        before.append([path for path, _ in world.effects])
        world.effects.clear()

    result = crash_everywhere(function, filled(case.payload, tmp_path), before_each=begin)

    assert without_ids(result.output) == filled(case.output, tmp_path)
    assert before[1] == case.effects
