"""Registering: options with their limits, the registry, and what a task says about itself."""

import datetime
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from trigger_sdk import RetryAfter, current_run, idempotency_key, log
from trigger_sdk.errors import RegistrationError, TaskOptionError
from trigger_sdk.options import Retry
from trigger_sdk.tasks import registry, task

from tests.unit.sdk.in_process import run

Load = Callable[[str], ModuleType]


def work(x: int = 1) -> int:
    return x


def test_defaults_are_those_of_the_interface() -> None:
    task("work")(work)

    assert registry["work"].options.to_json() == {
        "queue": "work",
        "retry": {"max_attempts": 3, "initial": 5, "factor": 4, "max": 3600},
        "max_concurrency": None,
        "max_concurrency_total": None,
        "concurrency_key": None,
        "max_duration_seconds": 3600,
        "memory_bytes": 536_870_912,
        "retry_out_of_memory_bytes": None,
        "disk_bytes": 2_147_483_648,
        "cpus": None,
        "warm_start": "fork",
        "rate_limit": None,
        "rate_limit_per_key": None,
        "ttl_seconds": None,
        "schedule": None,
    }


def test_all_options_are_taken() -> None:
    task(
        "work",
        queue="mail",
        max_concurrency=2,
        max_concurrency_total=9,
        concurrency_key="payload.customer_id",
        retry=Retry(max_attempts=250, initial=0.5, factor=1, max=10),
        max_duration=datetime.timedelta(minutes=2),
        memory="1.5GB",
        retry_out_of_memory=2**31,
        disk="10 mb",
        cpus=0.5,
        warm_start="off",
        rate_limit="100/m",
        rate_limit_per_key="5/s",
        ttl=60,
        schedule={"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    )(work)

    options = registry["work"].options
    assert (options.queue, options.memory_bytes, options.disk_bytes) == ("mail", 3 * 2**29, 10 * 2**20)
    assert (options.max_duration_seconds, options.ttl_seconds, options.retry.max_attempts) == (120, 60, 250)


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("queue", "a b", "1 to 128 letters"),
        ("queue", "x" * 129, "1 to 128 letters"),
        ("max_concurrency", 0, "must be an integer from 1 to 1,000,000, not 0"),
        ("max_concurrency", True, "not True"),
        ("max_concurrency", 1.5, "not 1.5"),
        ("max_concurrency_total", 5, "only makes sense together with concurrency_key"),
        ("concurrency_key", "customer_id", "such as 'payload.customer_id'"),
        ("retry", 3, "a Retry"),
        ("max_duration", 0, "a number from 1 to 604,800"),
        ("max_duration", float("nan"), "a number from 1"),
        ("memory", "512", "a size such as"),
        ("memory", "1MB", "a size from 16MB to 1TB"),
        ("memory", "2TB", "a size from 16MB to 1TB"),
        ("retry_out_of_memory", "256MB", "a size from 512MB"),
        ("disk", True, "a size such as"),
        ("cpus", 0, "a number from 0.01"),
        ("warm_start", "maybe", "one of 'fork', 'same_process', 'off'"),
        ("rate_limit", "100 per minute", "such as '100/m'"),
        ("rate_limit", "0/m", "such as '100/m'"),
        ("rate_limit_per_key", "5", "such as '5/s'"),
        ("rate_limit_per_key", "5/s", "only makes sense together with concurrency_key"),
        ("ttl", -1, "a number from 1"),
        ("schedule", "0 3 * * *", "a mapping"),
    ],
)
def test_wrong_option_is_refused_with_its_name_and_limit(option: str, value: Any, part: str) -> None:
    with pytest.raises(TaskOptionError) as refusal:
        task("work", **{option: value})

    assert refusal.value.option == option
    assert str(refusal.value).startswith(f"{option}: ")
    assert part in str(refusal.value)


@pytest.mark.parametrize("task_id", ["", "a b", "-a", "a/b", "ä", "x" * 129, 7, "a\n"])
def test_wrong_task_id_is_refused(task_id: Any) -> None:
    with pytest.raises(TaskOptionError, match=r"^id: "):
        task(task_id)


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_attempts", 0), ("max_attempts", 251), ("initial", -1), ("factor", 0.5), ("max", float("inf"))],
)
def test_wrong_retry_rule_is_refused(field: str, value: Any) -> None:
    with pytest.raises(TaskOptionError, match=rf"^retry\.{field}: "):
        Retry(**{field: value})


def test_id_that_another_task_has_is_refused_with_its_place(load: Load) -> None:
    first = load("@task('same')\ndef one(): pass\n")

    with pytest.raises(RegistrationError) as refusal:
        load("@task('other')\ndef one(): pass\n\n@task('same')\ndef two(): pass\n")

    assert (refusal.value.line, refusal.value.code) == (6, "duplicate_task")
    assert refusal.value.message == f"the task id 'same' is already used by {first.__file__}:3: give it another"


def test_same_definition_loaded_again_replaces_the_task() -> None:
    def define() -> Callable[[], int]:
        @task("again")
        def again() -> int:
            return 1

        return again

    define()
    second = define()

    assert registry["again"].function is second


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("@task('t')\ndef t(*args): pass\n", "parameter"),
        ("@task('t')\ndef t():\n    yield 1\n", "generator"),
        ("@task('t')\nasync def t():\n    yield 1\n", "generator"),
        ("t = task('t')(lambda: 1)\n", "lambda"),
        ("import functools\n@functools.cache\n@task('t')\ndef t(): pass\n", "decorator_above_task"),
        ("@task('t')\nclass T: pass\n", "not_a_function"),
        ("@task('t')\ndef t(a={}): pass\n", "mutable_default"),
    ],
)
def test_what_cannot_be_a_task_is_refused(load: Load, source: str, code: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load(source)

    assert refusal.value.code == code
    assert refusal.value.line >= 2
    assert refusal.value.file.endswith(".py")


def test_description_is_plain_json(load: Load) -> None:
    load('''
        @task("described", memory="64MB")
        async def described(order_id: str):
            """Charges an order."""
            total = len(order_id)
            await checkpoint("counted", {"total": total, "note": "x"})
            return total
    ''')

    described = registry["described"].describe()

    assert json.loads(json.dumps(described)) == described
    assert (described["id"], described["doc"], described["is_async"]) == ("described", "Charges an order.", True)
    assert described["line"] == 3
    assert described["options"]["memory_bytes"] == 64 * 2**20
    assert described["payload_schema"]["required"] == ["order_id"]
    assert described["resume_points"] == [
        {
            "key": "counted",
            "line": 6,
            "names": ["total"],
            "data_keys": ["total", "note"],
            "needs": ["total"],
            "again": [],
        }
    ]


def test_run_is_known_inside_it_and_nowhere_else() -> None:
    @task("who")
    def who() -> list[Any]:
        info = current_run()
        assert info is not None
        return [info.id, info.attempt_number, info.task, idempotency_key("a"), idempotency_key("b")]

    run_id, attempt, name, first, second = run(who).output

    assert (run_id, attempt, name) == ("run_test", 1, "who")
    assert run(who).output[3] == first != second
    assert len(first) == 64
    assert current_run() is None


def test_idempotency_keys_of_direct_calls_never_repeat() -> None:
    assert idempotency_key("charge") != idempotency_key("charge")


def test_logs_of_a_run_are_structured() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("broken")

    @task("logs")
    def logs() -> None:
        log.info("fetched", order={"id": 1}, when=datetime.date(2026, 1, 2))
        log.error("odd", value=Odd(), number=float("nan"))

    lines = run(logs).logs

    assert [(line.level, line.message, line.attempt) for line in lines] == [("info", "fetched", 1), ("error", "odd", 1)]
    assert lines[0].fields == {"order": {"id": 1}, "when": "2026-01-02"}
    assert "broken" in lines[1].fields["value"]
    assert lines[1].fields["number"] == "nan"


def test_logs_outside_a_run_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        log.warning("slow", seconds=3)

    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", "slow seconds=3")]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", True, 30 * 86_400 + 1])
def test_retry_after_takes_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(ValueError, match="30 days"):
        RetryAfter(seconds)


def test_retry_after_a_time_that_has_passed_says_how_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"give max\(0, seconds\)"):
        RetryAfter(-2.5, "the window opened meanwhile")

    assert RetryAfter(max(0, -2.5)).seconds == 0
