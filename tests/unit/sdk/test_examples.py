"""The example folders: they pass the check, their READMEs are right, and no crash changes the result."""

import asyncio
import calendar
import functools
import importlib
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import AbortRun, cli, registry
from trigger_sdk.testing import Result

from tests.unit.sdk.in_process import run

EXAMPLES = Path(__file__).parents[3] / "examples"
FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/trigger.toml"))
NORWAY = "What do 3 kg of Sidamo and 2 kg of Huila cost with shipping to Norway?"
ROW = re.compile(
    r"(T\d{5}),(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ),(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ),([^,]+),[^,]+,"
    r"(classic|electric|cargo),(\d+)\.(\d\d)"
)

Import = Callable[[str], Any]


@pytest.fixture
def example() -> Iterator[Import]:
    """Imports the `tasks` of an example folder; removes its modules after the test."""
    # Tasks of other test modules may have the same id as an example; `kept_registry` puts them back.
    registry.clear()
    folders: list[Path] = []

    def imported(name: str) -> Any:
        folders.append(EXAMPLES / name)
        sys.path.insert(0, str(folders[-1]))
        return importlib.import_module("tasks")

    yield imported
    for folder in folders:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]


def test_the_examples_are_those_that_we_know() -> None:
    assert FOLDERS == ["agent", "etl", "orders"]


@pytest.mark.parametrize("name", FOLDERS)
def test_example_passes_the_check_without_hints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.execute(["check", str(EXAMPLES / name)])

    assert code == 0
    assert capsys.readouterr().out.endswith("accepted, no problems.\n")


@pytest.mark.parametrize("name", FOLDERS)
def test_python_in_the_readme_runs_as_shown(name: str, example: Import) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (EXAMPLES / name / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    tasks = example(name)
    for part in vars(tasks).values():
        if hasattr(part, "latency_seconds"):
            part.latency_seconds = 0

    for block in blocks:
        exec(compile(block, f"{name}/README.md", "exec"), {})

    assert blocks


class Etl:
    """The pipeline with a source that answers at once and remembers which pages it was asked for."""

    def __init__(self, tasks: Any) -> None:
        self.task = tasks.trips_report
        self.path: Path = tasks.source.path
        self.asked: list[int] = []
        asked = self.asked

        class Source(type(tasks.source)):  # type: ignore[misc]
            def fetch_page(self, number: int, *arguments: Any, **named: Any) -> Any:
                asked.append(number)
                return super().fetch_page(number, *arguments, **named)

        tasks.source = Source(self.path, 0)


@pytest.fixture
def etl(example: Import) -> Etl:
    return Etl(example("etl"))


def counted_otherwise(path: Path) -> dict[str, Any]:
    """The report's figures by one regular expression and whole cents, without any of the example's code."""
    found: dict[str, tuple[str, int, str, str, int]] = {}
    lines = path.read_text().splitlines()[1:]
    left_out: list[int] = []
    for number, line in enumerate(lines, 2):
        match = ROW.fullmatch(line)
        seconds = seconds_between(match[2], match[3]) if match is not None else 0
        if match is None or seconds <= 0 or match[1] in found:
            left_out.append(number)
        else:
            found[match[1]] = (match[2][:10], seconds, match[4], match[5], int(match[6] + match[7]))
    trips = list(found.values())
    cents = {bike: sum(trip[4] for trip in trips if trip[3] == bike) for bike in ("cargo", "classic", "electric")}
    days, stations = Counter(trip[0] for trip in trips), Counter(trip[2] for trip in trips)
    return {
        "rows": len(lines),
        "trips": len(trips),
        "cents": sum(cents.values()),
        "bikes": {
            bike: (
                sum(trip[3] == bike for trip in trips),
                cents[bike],
                sum(trip[1] for trip in trips if trip[3] == bike),
            )
            for bike in cents
        },
        "day": min(days, key=lambda day: (-days[day], day)),
        "station": min(stations, key=lambda station: (-stations[station], station)),
        "busiest": (max(days.values()), max(stations.values())),
        "left_out": left_out,
    }


def seconds_between(first: str, last: str) -> int:
    """The time between two UTC times; 0 if one of them is not a time."""
    try:
        begin, end = (calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) for text in (first, last))
    except ValueError:
        return 0
    return end - begin


def test_etl_report_agrees_with_a_count_by_other_means(etl: Etl) -> None:
    expected = counted_otherwise(etl.path)

    report = run(etl.task).output

    assert (report["rows"], report["trips"]) == (expected["rows"], expected["trips"]) == (1200, 1165)
    assert report["fares"] == f"{expected['cents'] / 100:.2f}"
    assert report["by_bike"] == {
        bike: {
            "trips": trips,
            "fares": f"{cents // 100}.{cents % 100:02d}",
            "mean_minutes": round(seconds / trips / 60, 1),
        }
        for bike, (trips, cents, seconds) in expected["bikes"].items()
    }
    assert report["busiest_day"] == {"name": expected["day"], "trips": expected["busiest"][0]}
    assert report["busiest_station"] == {"name": expected["station"], "trips": expected["busiest"][1]}
    assert sum(report["rejected"].values()) == len(expected["left_out"]) == 35


def test_etl_rejected_rows_are_the_ones_that_they_say(etl: Etl) -> None:
    lines = etl.path.read_text().splitlines()

    report = run(etl.task).output

    assert report["rejected"]["unknown bike"] == sum(",scooter," in line for line in lines)
    assert report["rejected"]["wrong number of columns"] == sum(line.count(",") != 6 for line in lines)
    assert [row["line"] for row in report["first_rejected"]] == counted_otherwise(etl.path)["left_out"][:5]


def test_etl_gives_the_same_report_after_a_crash_at_anything_it_stores(etl: Etl) -> None:
    payload = {"page_size": 400}
    whole = run(etl.task, payload)
    keys = [entry.key for entry in whole.stored]
    etl.asked.clear()

    results = {key: run(etl.task, payload, crash_after=key) for key in keys}

    assert keys == ["counted", "page-1", "page-2", "page-3", "fetched", "parsed", "aggregated"]
    assert all(result.output == whole.output and result.attempts == 2 for result in results.values())
    assert Counter(etl.asked) == dict.fromkeys((1, 2, 3), len(keys))
    assert results["aggregated"].resumed_from == "aggregated"


def test_etl_failing_page_is_fetched_by_the_next_attempt_and_no_other(etl: Etl) -> None:
    expected = run(etl.task).output
    etl.asked.clear()

    with pytest.raises(Exception, match="page 7: the source answered 503") as failure:
        run(etl.task, {"fail_at_page": 7})
    result = run(etl.task, {"fail_at_page": 7}, resume=failure.value)

    assert result.output == expected
    assert (result.attempts, result.resumed_from) == (2, "counted")
    assert etl.asked == [1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12]
    assert [line.message for line in result.logs].count("counted the pages") == 1


@pytest.mark.parametrize("page_size", [7, 600, 1199, 1200, 5000])
def test_etl_report_does_not_depend_on_the_size_of_a_page(etl: Etl, page_size: int) -> None:
    assert run(etl.task, {"page_size": page_size}).output == run(etl.task).output


def test_etl_gives_up_where_too_many_rows_are_broken(etl: Etl) -> None:
    with pytest.raises(AbortRun, match="35 of 1200 rows make no sense"):
        run(etl.task, {"max_rejected_percent": 2.9})
    assert run(etl.task, {"max_rejected_percent": 3}).output["trips"] == 1165


def test_etl_refuses_a_page_without_rows(etl: Etl) -> None:
    with pytest.raises(AbortRun, match="page_size must be at least 1, not 0"):
        run(etl.task, {"page_size": 0})


class Agent:
    """The agent with tools and a model that answer at once, remember what they were asked, and fail when told."""

    def __init__(self, tasks: Any) -> None:
        self.task = tasks.answer_question
        self.module = tasks
        self.charged: dict[str, int] = {}
        self.turns = 0
        self.used: list[tuple[str, str]] = []
        self.lost_replies = 0
        self.meeting: asyncio.Barrier | None = None
        outer = self

        class Model(type(tasks.model)):  # type: ignore[misc]
            @functools.wraps(type(tasks.model).decide)  # a step reads the shape of its result from it
            async def decide(self, transcript: Any, idempotency_key: str) -> Any:
                outer.turns += 1
                decision = await super().decide(transcript, idempotency_key)
                if outer.lost_replies:
                    outer.lost_replies -= 1
                    raise ConnectionError("the reply was lost")
                return decision

        class Tools(type(tasks.tools)):  # type: ignore[misc]
            async def use(self, name: str, argument: str, **named: Any) -> Any:
                outer.used.append((name, argument))
                if outer.meeting is not None and name == "search":
                    await outer.meeting.wait()
                return await super().use(name, argument, **named)

        tasks.model, tasks.tools = Model(0), Tools(tasks.tools.folder, 0)
        tasks.model.charged = self.charged

    def ask(self, question: str = NORWAY, **named: Any) -> Result:
        return run(self.task, {"question": question}, **named)

    def forget(self) -> None:
        self.charged.clear()
        self.used.clear()
        self.turns = 0


@pytest.fixture
def agent(example: Import) -> Agent:
    return Agent(example("agent"))


@pytest.mark.parametrize(
    ("question", "answer", "turns"),
    [
        (NORWAY, "131.30 EUR: 3 * 24.50 + 2 * 21.90 + 14.00", 3),
        ("1.5 kg of Decaf Cauca, please", "39.00 EUR: 1.5 * 26.00", 3),
        ("How much are 3 kg of Sidamo to Mars?", "The documents do not say: Shipping to Mars.", 2),
        ("Does a fridge spoil beans?", "[returns.md] Beans keep their taste for three months", 2),
        ("Quantum chromodynamics?", "The documents do not say.", 2),
    ],
)
def test_agent_answers_from_its_documents(agent: Agent, question: str, answer: str, turns: int) -> None:
    output = agent.ask(question).output

    assert output["answer"].startswith(answer)
    assert output["cost_cents"] == 2 * turns == sum(agent.charged.values())


def test_agent_pays_for_no_turn_twice_wherever_it_crashes(agent: Agent) -> None:
    first = agent.ask()
    keys = [entry.key for entry in first.stored]

    for key in keys:
        agent.forget()
        result = agent.ask(crash_after=key)

        assert result.output == first.output
        assert result.attempts == 2
        assert sum(agent.charged.values()) == result.output["cost_cents"] == 6
        assert agent.turns == 3
        # Searches that were running alongside the one it crashed after were not stored, and run again.
        assert set(Counter(agent.used).values()) <= ({1, 2} if "search" in key else {1})
    assert len(keys) == 8


def test_agent_resumes_after_its_answer(agent: Agent) -> None:
    result = agent.ask(crash_after="answered")

    assert result.resumed_from == "answered"
    assert [line.message for line in result.logs].count("answered") == 1


def test_agent_with_a_failing_tool_gets_the_paid_turn_again(agent: Agent) -> None:
    payload = {"question": NORWAY, "fail_at_turn": 2}

    with pytest.raises(Exception, match="the tool's server went away") as failure:
        run(agent.task, payload)
    paid = dict(agent.charged)
    result = run(agent.task, payload, resume=failure.value)

    assert len(paid) == 2
    assert result.output["cost_cents"] == sum(agent.charged.values()) == 6
    assert agent.turns == 3
    assert [tool for tool, _ in agent.used].count("calculate") == 3


def test_agent_whose_paid_reply_was_lost_asks_again_with_the_same_key(agent: Agent) -> None:
    agent.lost_replies = 2

    result = agent.ask()

    assert agent.turns == 5
    assert result.output["cost_cents"] == sum(agent.charged.values()) == 6


def test_agent_uses_the_tools_of_a_turn_at_the_same_time(agent: Agent) -> None:
    agent.meeting = asyncio.Barrier(3)  # a search that waits alone reaches its step's time limit

    result = agent.ask()

    assert result.output["answer"].startswith("131.30 EUR")
    assert [tool for tool, _ in agent.used] == ["search"] * 3 + ["calculate"]


def test_agent_gives_up_after_its_last_turn(agent: Agent) -> None:
    agent.module.MAX_TURNS = 2

    with pytest.raises(AbortRun, match="no answer after 2 turns, for 4 cents"):
        agent.ask()


@pytest.mark.parametrize("expression", ["1 +", "2 ** 9", "__import__('os')", "1 / 0", "(1).real", "True + 1"])
def test_agents_calculator_takes_sums_alone(example: Import, expression: str) -> None:
    example("agent")
    tools = importlib.import_module("tools")

    with pytest.raises(tools.ToolFailed):
        tools.calculate(expression)
    assert tools.calculate("2 * (1.10 + 3)") == "8.20"
