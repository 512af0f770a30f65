"""Why a run waits: for each reason the real claim leaves the run alone, and takes it as soon as the cause has gone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.runs.lifecycle import cancel
from apps.runs.models import Run, Task, TaskControl
from apps.runs.shown.run import RunOut
from apps.runs.waiting import Reason, waiting_reason
from apps.storage.ids import uuid7
from apps.workers.models import Worker
from tests.coordinator_harness import Clock
from tests.factories import bearer, make_checkpoint, make_run, make_task, make_worker
from tests.integration.coordinator.due_claims import claimed


@dataclass
class Case:
    """`arrange` makes a run that waits for `code`; `clear` removes the cause."""

    code: str
    arrange: Callable[[Clock], Run]
    clear: Callable[[Run, Clock], Any]
    says: str
    blocking_count: int = 0
    has_until: bool = False
    capacity: int = 10
    """Free slots that the worker asks for; 0 where it has none."""


def soon(seconds: float = 30) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def running(count: int, **fields: Any) -> list[Run]:
    return [make_run("noop", state="running", **fields) for _ in range(count)]


def finish_all(run: Run, clock: Clock) -> None:
    for other in Run.objects.running():
        Run.objects.filter(id=other.id).update(
            state="completed", finished_at=datetime.now(UTC), token=None, worker_id=None, lease_end=None
        )


def limited_queue(clock: Clock) -> Run:
    set_queue("mail", max_concurrency=2)
    running(2, queue="mail")
    return make_run("noop", queue="mail")


def limited_task(clock: Clock) -> Run:
    set_task("noop", max_concurrency_total=7)
    running(7, queue="elsewhere")
    return make_run("noop")


def limited_key(clock: Clock) -> Run:
    set_task("noop", max_concurrency=1)
    running(1, concurrency_key="ada")
    running(1, concurrency_key="bob")
    return make_run("noop", concurrency_key="ada")


def declared_limit(clock: Clock) -> Run:
    make_task("noop", options={"max_concurrency": 1})
    running(1)
    return make_run("noop")


def cooling(clock: Clock) -> Run:
    failing = [uuid7() for _ in range(12)]
    TaskControl.objects.create(task_id="noop", failing_runs=failing, cooling_until=soon())
    return make_run("noop")


def probed(clock: Clock) -> Run:
    (probe,) = running(1)
    TaskControl.objects.create(
        task_id="noop", failing_runs=[uuid7() for _ in range(12)], cooling_until=soon(-1), probe_run=probe.id,
        probe_until=soon(),
    )  # fmt: skip
    return make_run("noop")


def rated(**change: str) -> Callable[[Clock], Run]:
    def arrange(clock: Clock) -> Run:
        if "queue" in change:
            set_queue("noop", rate_limit=change["queue"])
        else:
            set_task("noop", **change)  # type: ignore[arg-type]
        first = make_run("noop", concurrency_key="ada")
        assert claimed(10) == [first.id]
        finish_all(first, clock)
        return make_run("noop", concurrency_key="ada")

    return arrange


def retrying(clock: Clock) -> Run:
    error = {"type": "PaymentDeclined", "message": "no", "stack": ""}
    run = make_run("noop", state="retrying", due_at=soon(), attempt_count=1, error=error)
    make_checkpoint(run, "order-fetched")
    make_checkpoint(run, "page-1", kind="step")
    return run


def retired(clock: Clock) -> Run:
    run = make_run("noop")
    Task.objects.update(is_retired=True)
    return run


def paused_queue(clock: Clock) -> Run:
    set_queue("noop", is_paused=True)
    return make_run("noop")


def paused_task(clock: Clock) -> Run:
    set_task("noop", is_paused=True)
    return make_run("noop")


def full_worker(clock: Clock) -> Run:
    running(4)
    return make_run("noop")


def in_line(clock: Clock) -> Run:
    first = make_run("noop")
    make_run("noop", priority=5)
    run = make_run("noop")
    make_run("noop")
    assert first.id < run.id
    return run


def advance(seconds: float) -> Callable[[Run, Clock], None]:
    return lambda run, clock: clock.advance(seconds)


CASES = {
    "delayed": Case(
        "delayed", lambda clock: make_run("noop", state="delayed", due_at=soon()), advance(31),
        "Delayed: it becomes pending at", has_until=True,
    ),
    "retrying": Case(
        "retrying", retrying, advance(31),
        "Attempt 1 did not complete (PaymentDeclined): attempt 2 of 3 continues after the checkpoint order-fetched at",
        has_until=True,
    ),
    "retired": Case(
        "task_retired", retired, lambda run, clock: Task.objects.update(is_retired=False), "The task noop is retired",
    ),
    "over": Case(
        "expired", lambda clock: make_run("noop", expires_at=soon(-1)),
        lambda run, clock: Run.objects.update(expires_at=soon(3600)), "Its time to live ended",
    ),
    "queue paused": Case(
        "queue_paused", paused_queue, lambda run, clock: set_queue("noop", is_paused=False),
        "The queue noop is paused.",
    ),
    "task paused": Case(
        "task_paused", paused_task, lambda run, clock: set_task("noop", is_paused=False), "The task noop is paused.",
    ),
    "cooling": Case(
        "cooling_down", cooling, advance(31), "because 12 of its runs have failed in a row", has_until=True,
    ),
    "cooling, lifted": Case(
        "cooling_down", cooling, lambda run, clock: lift_cooldown("noop"), "the next one is tried at", has_until=True,
    ),
    "probed": Case(
        "cooling_down", probed, finish_all, "when it ends, or at the latest at", blocking_count=1, has_until=True,
    ),
    "probed for long": Case(
        "cooling_down", probed, advance(31), "one run at a time is tried", blocking_count=1, has_until=True,
    ),
    "queue limit": Case(
        "queue_limit", limited_queue, finish_all, "The limit for the queue mail is 2 at once, and 2 are running now.",
        blocking_count=2,
    ),
    "task limit": Case(
        "task_limit", limited_task, lambda run, clock: set_task("noop", max_concurrency_total=8),
        "The limit for the task noop is 7 at once, and 7 are running now.", blocking_count=5,
    ),
    "key limit": Case(
        "key_limit", limited_key, finish_all,
        "The limit for the task noop and the key ada is 1 at once, and 1 is running now.", blocking_count=1,
    ),
    "declared limit": Case(
        "key_limit", declared_limit, lambda run, clock: set_task("noop", max_concurrency=2),
        "The limit for the task noop is 1 at once, and 1 is running now.", blocking_count=1,
    ),
    "rate of the queue": Case(
        "rate_limit", rated(queue="1/m"), advance(61), "The rate limit for the queue noop is 1/m", has_until=True,
    ),
    "rate of the task": Case(
        "rate_limit", rated(rate_limit="2/m"), advance(31), "The rate limit for the task noop is 2/m", has_until=True,
    ),
    "rate of the key": Case(
        "rate_limit", rated(rate_limit_per_key="1/m"), advance(61),
        "The rate limit for the task noop and the key ada is 1/m", has_until=True,
    ),
    "full worker": Case(
        "no_free_slot", full_worker, finish_all,
        "Waiting for a free slot: the worker with 4 slots is executing 4 runs.", capacity=0,
    ),
}  # fmt: skip


def reason_of(run: Run) -> Reason:
    run.refresh_from_db()
    found = waiting_reason(run.id, run.state)
    assert found is not None
    return found


@pytest.fixture
def site(committed: str, clock: Clock) -> Clock:
    make_task("noop")
    make_worker(concurrency=4)
    return clock


@pytest.mark.parametrize("name", CASES)
def test_claim_agrees_with_the_reason_and_with_its_end(site: Clock, name: str) -> None:
    case = CASES[name]
    run = case.arrange(site)

    reason = reason_of(run)
    left = claimed(case.capacity)
    case.clear(run, site)
    taken = claimed(10)

    assert reason.code == case.code
    assert case.says in reason.sentence
    assert reason.sentence.endswith(".")
    assert len(reason.blocking_runs) == case.blocking_count
    assert (reason.until is not None) == case.has_until
    assert left == []
    assert taken == [run.id]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.has_until and "lifted" not in name])
def test_time_that_is_named_is_the_time_at_which_it_may_start(site: Clock, name: str) -> None:
    run = CASES[name].arrange(site)
    until = reason_of(run).until
    assert until is not None

    site.advance((until - datetime.now(UTC)).total_seconds() - 0.9)
    assert claimed(10) == []
    site.advance(1)

    assert claimed(10) == [run.id]


def test_blocking_runs_are_those_that_hold_the_limit(site: Clock) -> None:
    run = limited_key(site)

    (blocking,) = reason_of(run).blocking_runs

    assert blocking == Run.objects.get(state="running", concurrency_key="ada").public_id


def test_line_is_in_the_order_of_the_claim(site: Clock) -> None:
    run = in_line(site)

    reason = reason_of(run)
    taken = claimed(10)

    assert (reason.code, reason.sentence) == ("in_line", "2 runs are ahead of it in the queue noop.")
    assert taken.index(run.id) == 2


def test_long_line_is_counted_up_to_a_thousand(site: Clock) -> None:
    first = make_run("noop")
    Run.objects.bulk_create([Run(task_id="noop", queue="noop", priority=1) for _ in range(1001)])

    assert reason_of(first).sentence == "More than 1,000 runs are ahead of it in the queue noop."


def test_without_a_worker_nothing_starts_and_the_next_one_takes_the_run(site: Clock) -> None:
    Worker.objects.all().delete()
    run = make_run("noop")

    alone = reason_of(run)
    make_worker()
    following = reason_of(run)

    assert (alone.code, alone.is_alarming) == ("no_worker", True)
    assert f"{settings.PYTHON_COMMAND} manage.py runworker" in alone.sentence
    assert following.code == "next"
    assert claimed(1) == [run.id]


def test_silent_and_stopped_workers_do_not_count(site: Clock) -> None:
    Worker.objects.all().delete()
    make_worker(last_seen_at=soon(-61))
    make_worker(stopped_at=soon(-1))

    assert reason_of(make_run("noop")).code == "no_worker"


def test_first_cause_in_the_order_of_the_claim_is_told(site: Clock) -> None:
    """Everything stands against this run; the causes go one by one."""
    Worker.objects.all().delete()
    set_queue("noop", is_paused=True, max_concurrency=1, rate_limit="1/d")
    set_task("noop", is_paused=True, max_concurrency=1, max_concurrency_total=1)
    TaskControl.objects.update(failing_runs=[uuid7() for _ in range(10)], cooling_until=soon())
    running(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO queues_ratelimit (scope, name, concurrency_key, arrives_at) "
            "VALUES ('queue', 'noop', '', now() + interval '1 day')"
        )
    before = make_run("noop")
    run = make_run("noop")
    Task.objects.update(is_retired=True)
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("task_retired", lambda: Task.objects.update(is_retired=False)),
        ("queue_paused", lambda: set_queue("noop", is_paused=False)),
        ("task_paused", lambda: set_task("noop", is_paused=False)),
        ("cooling_down", lambda: lift_cooldown("noop")),
        ("queue_limit", lambda: set_queue("noop", max_concurrency=None)),
        ("task_limit", lambda: set_task("noop", max_concurrency_total=None)),
        ("key_limit", lambda: set_task("noop", max_concurrency=None)),
        ("rate_limit", lambda: set_queue("noop", rate_limit=None)),
        ("no_worker", lambda: make_worker(concurrency=1)),
        ("no_free_slot", lambda: finish_all(run, site)),
        ("in_line", lambda: cancel(before.id)),
        ("next", lambda: None),
    ]

    for code, remove in steps:
        assert reason_of(run).code == code
        if code not in ("no_worker", "no_free_slot", "in_line", "next"):
            assert claimed(10) == []
        remove()

    assert claimed(10) == [run.id]


def test_bound_run_of_a_retired_task_is_not_held_up_by_it(site: Clock) -> None:
    run = make_run("noop", deployment=Task.objects.get().deployment)
    Task.objects.update(is_retired=True)

    assert reason_of(run).code == "next"
    assert claimed(1) == [run.id]


@pytest.mark.parametrize("state", ["running", "completed", "dead_letter", "discarded", "canceled", "expired"])
def test_what_does_not_wait_has_no_reason_and_costs_no_query(site: Clock, state: str) -> None:
    run = make_run("noop", state=state)

    with CaptureQueriesContext(connection) as queries:
        assert waiting_reason(run.id, run.state) is None

    assert not queries.captured_queries


def test_run_that_moved_on_meanwhile_has_no_reason(site: Clock) -> None:
    run = make_run("noop", state="completed")

    assert waiting_reason(run.id, "pending") is None
    assert waiting_reason(uuid7(), "pending") is None


def test_api_shows_the_reason_with_its_runs(site: Clock) -> None:
    run = limited_key(site)
    blocking = Run.objects.get(state="running", concurrency_key="ada")

    shown = RunOut.model_validate(
        Client().get(f"/api/v1/runs/{run.public_id}", headers=bearer("viewer")).json()
    ).waiting_reason

    assert shown is not None
    assert (shown.code, shown.blocking_runs, shown.until) == ("key_limit", [blocking.public_id], None)
