"""A queue's depth: what counts, what a refusal says, and that nothing is enqueued. Races are in `tests/reliability`."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from trigger_sdk import Client as SdkClient
from trigger_sdk.client import ApiError

from apps.queues.admission import QUEUE_DEPTHS, retry_after_seconds
from apps.queues.errors import QueueFull
from apps.queues.models import Queue, RateLimit
from apps.queues.ticks import drop_idle_rates
from apps.runs.lifecycle import trigger, trigger_batch
from apps.runs.models import Run, RunValue
from apps.runs.states import RunState
from tests.factories import bearer, make_attempt, make_run, make_task
from tests.live_server import running_server

BATCH = {"task": "process-order"}


@pytest.fixture
def narrow(db: None) -> Queue:
    make_task()
    return Queue.objects.create(name="process-order", max_depth=3)


def test_a_trigger_beyond_the_depth_is_refused(narrow: Queue) -> None:
    for _ in range(3):
        trigger("process-order")

    with pytest.raises(QueueFull) as refusal:
        trigger("process-order")

    assert [error.path for error in refusal.value.errors] == ["options.queue"]
    assert "'process-order' is full: it accepts at most 3 waiting runs" in refusal.value.detail
    assert Run.objects.count() == RunValue.objects.count() == 3


@pytest.mark.parametrize("state", list(RunState))
def test_pending_and_delayed_runs_count(narrow: Queue, state: RunState) -> None:
    for _ in range(3):
        make_run(state=state)

    if state in (RunState.PENDING, RunState.DELAYED):
        with pytest.raises(QueueFull):
            trigger("process-order")
    else:
        assert trigger("process-order").state == "pending"


def test_a_batch_is_enqueued_whole_or_not_at_all(narrow: Queue) -> None:
    trigger("process-order")

    with pytest.raises(QueueFull):
        trigger_batch([BATCH, {**BATCH, "options": {"queue": "other"}}, BATCH, BATCH])
    assert Run.objects.count() == 1

    assert len(trigger_batch([BATCH, {**BATCH, "options": {"queue": "other"}}, BATCH])) == 3


def test_a_batch_larger_than_the_queue_says_so(narrow: Queue) -> None:
    with pytest.raises(QueueFull, match="accepts at most 3 waiting runs, but 4 were triggered together"):
        trigger_batch([BATCH] * 4)


def test_other_queues_are_not_bounded(narrow: Queue) -> None:
    Queue.objects.create(name="other")
    for _ in range(5):
        trigger("process-order", queue="other")

    assert Run.objects.count() == 5


def test_a_caller_may_go_on_after_a_refusal(narrow: Queue) -> None:
    with transaction.atomic():
        trigger_batch([BATCH] * 3)
        with pytest.raises(QueueFull):
            trigger("process-order")
        trigger("process-order", queue="other")

    assert Run.objects.count() == 4


def test_a_refusal_over_http_says_when_to_come_back(narrow: Queue, client: Client) -> None:
    trigger_batch([BATCH] * 3)
    headers = bearer("operator")

    for path, body in (("/tasks/process-order/runs", {}), ("/batches", {"items": [BATCH]})):
        response = client.generic(
            "POST", f"/api/v1{path}", json.dumps(body), content_type="application/json", headers=headers
        )

        assert (response.status_code, response.json()["type"]) == (429, "/problems/queue-full")
        assert 1 <= int(response["Retry-After"]) <= 60
    assert Run.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_the_client_tells_when_to_come_back() -> None:
    make_task()
    Queue.objects.create(name="process-order", max_depth=1)
    headers = bearer("operator")
    with running_server(headers) as server, SdkClient(server.url, headers["Authorization"].split()[1]) as connected:
        connected.trigger("process-order")
        with pytest.raises(ApiError) as refusal:
            connected.trigger("process-order")

    assert (refusal.value.status, refusal.value.type) == (429, "/problems/queue-full")
    assert refusal.value.retry_after is not None
    assert 1 <= refusal.value.retry_after <= 60


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("starts", "over_seconds", "count", "expected"),
    [(0, 0, 1, 60), (10, 10.0, 1, 1), (10, 10.0, 5, 5), (10, 300.0, 1, 30), (2, 300.0, 1, 60), (100, 1.0, 1, 1)],
)
def test_the_wait_is_told_by_the_latest_starts(starts: int, over_seconds: float, count: int, expected: int) -> None:
    make_task()
    make_attempt(make_run(queue="other", state="running"))
    for number in range(starts):
        age = timedelta(seconds=over_seconds * (starts - number) / starts)
        make_attempt(make_run(state="completed"), outcome="completed", claimed_at=Now() - age)

    assert abs(retry_after_seconds("process-order", count) - expected) <= 1


@pytest.mark.django_db
def test_depths_are_counted_by_index_and_no_further_than_asked() -> None:
    make_task()
    for number in range(8):
        make_run(state="delayed" if number % 2 else "pending")
    # Many that wait elsewhere: among a handful of rows every index is as good as another.
    Run.objects.bulk_create(
        Run(task_id="process-order", queue="elsewhere", state="delayed", due_at=Now() + timedelta(days=1))
        for _ in range(3000)
    )

    rows = QUEUE_DEPTHS.run(queues=["process-order", "empty"], limits=[5, 5])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_run")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {QUEUE_DEPTHS.text}", {"queues": ["process-order"], "limits": [5]})
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert [(row.name, row.depth) for row in rows] == [("process-order", 5), ("empty", 0)]
    assert "run_claim_idx" in plan
    assert "run_delayed_idx" in plan


@pytest.mark.django_db
def test_a_queue_without_a_depth_is_not_locked() -> None:
    make_task()
    Queue.objects.create(name="process-order", max_concurrency=5)

    with CaptureQueriesContext(connection) as queries:
        trigger("process-order")

    assert not any("FOR NO KEY UPDATE" in query["sql"] for query in queries)
    assert len(queries) <= 3


@pytest.mark.django_db
def test_rates_that_have_long_been_idle_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = RateLimit.Scope.KEY
    for number in range(5):
        RateLimit.objects.create(
            scope=scope, name="t", concurrency_key=str(number), arrives_at=Now() - timedelta(hours=2)
        )
    RateLimit.objects.create(scope=scope, name="t", concurrency_key="lately", arrives_at=Now() - timedelta(minutes=5))
    RateLimit.objects.create(scope=scope, name="t", concurrency_key="ahead", arrives_at=Now() + timedelta(minutes=5))
    monkeypatch.setattr("apps.queues.ticks.RATES_LIMIT", 3)

    assert [drop_idle_rates() for _ in range(3)] == [True, False, False]
    assert set(RateLimit.objects.values_list("concurrency_key", flat=True)) == {"lately", "ahead"}
