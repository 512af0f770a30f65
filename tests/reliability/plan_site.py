"""Tables as a large installation has them: one pending run in a hundred can be claimed, and history lies beside it.

Rows are copies of ones that the factories made, so that new columns need no change here.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from apps.queues.models import Queue, RateLimit
from apps.runs.models import Attempt, Run, TaskControl
from apps.storage.ids import uuid7
from apps.workers.models import Pulse
from tests.factories import make_attempt, make_checkpoint, make_deployment, make_run, make_task, make_worker

CLAIMABLE_COUNT = 200
BLOCKED_COUNT = 4_950
"""Of each of four kinds."""

FINISHED_COUNT = 20_000
RUNNING_COUNT = 500
WAITING_COUNT = 5_000
DUE_COUNT = 50
LATE_COUNT = 50
"""Runs whose time to live is over, with those of the next minute it takes to get to the test."""

KEY_COUNT = 20

COPY_RUNS = """
INSERT INTO runs_run
SELECT c.* FROM runs_run r CROSS JOIN generate_series(1, %(count)s) AS n
CROSS JOIN LATERAL jsonb_populate_record(r, jsonb_build_object(
    'id', gen_random_uuid(),
    'concurrency_key', CASE WHEN %(keys)s > 0 THEN 'k' || n %% %(keys)s ELSE r.concurrency_key END,
    'token', CASE WHEN r.token IS NOT NULL THEN uuid_send(gen_random_uuid()) END,
    'due_at', r.due_at + n * interval '1 s',
    'expires_at', r.expires_at + n * interval '1 s')) AS c
WHERE r.id = %(id)s
"""

COPY_REST = """
INSERT INTO runs_value SELECT c.* FROM runs_value v CROSS JOIN runs_run r
CROSS JOIN LATERAL jsonb_populate_record(v, jsonb_build_object('run_id', r.id)) AS c
WHERE v.run_id = %(value)s AND NOT EXISTS (SELECT FROM runs_value o WHERE o.run_id = r.id);

INSERT INTO runs_attempt SELECT c.* FROM runs_attempt a JOIN runs_run m ON m.id = a.run_id
JOIN runs_run r ON r.state = m.state AND r.id <> m.id
CROSS JOIN LATERAL jsonb_populate_record(a, jsonb_build_object(
    'id', nextval(pg_get_serial_sequence('runs_attempt', 'id')), 'run_id', r.id, 'poll_id', gen_random_uuid(),
    'token', coalesce(r.token, uuid_send(gen_random_uuid())))) AS c;

INSERT INTO checkpoints_checkpoint SELECT c.* FROM checkpoints_checkpoint k JOIN runs_run m ON m.id = k.run_id
JOIN runs_run r ON r.state = m.state AND r.id <> m.id
CROSS JOIN LATERAL jsonb_populate_record(k, jsonb_build_object(
    'id', nextval(pg_get_serial_sequence('checkpoints_checkpoint', 'id')), 'run_id', r.id)) AS c;
"""

TABLES = (
    "runs_run", "runs_value", "runs_attempt", "runs_task", "runs_taskversion", "runs_taskcontrol", "queues_queue",
    "queues_ratelimit", "checkpoints_checkpoint", "workers_worker", "workers_pulse", "runs_idempotencykey",
)  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A running run as its worker names it."""

    run_id: UUID
    token: bytes
    poll_id: UUID


NEVER_ANALYZED = """
DELETE FROM pg_statistic WHERE starelid = ANY(%(tables)s::regclass[]);
UPDATE pg_class SET relpages = 0, reltuples = -1, relallvisible = 0
WHERE oid = ANY(%(tables)s::regclass[])
   OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tables)s::regclass[]))
"""


def fill() -> None:
    """Nothing is analyzed yet: what autovacuum found out after earlier tests is forgotten."""
    with connection.cursor() as cursor:
        cursor.execute(NEVER_ANALYZED, {"tables": list(TABLES)})
    deployment = make_deployment()
    limited = {"max_concurrency": 1, "rate_limit_per_key": "100/s"}
    for task in ("cooling", "free", "full", "halted", "past"):
        make_task(task, deployment=deployment, options=limited if task in ("free", "full") else {})
    make_task("retired", deployment=deployment, is_retired=True)
    Queue.objects.create(name="paused", is_paused=True)
    TaskControl.objects.create(
        task_id="cooling", failing_runs=[uuid4() for _ in range(12)],
        cooling_until=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    Pulse.objects.create(id=1)
    worker = make_worker()
    _copy(make_run("free"), CLAIMABLE_COUNT, keys=KEY_COUNT)
    ended_at = timezone.now() - timedelta(seconds=LATE_COUNT)
    _copy(make_run("halted", queue="paused", expires_at=ended_at), BLOCKED_COUNT, keys=50)
    _copy(make_run("full", concurrency_key="K"), BLOCKED_COUNT)
    _copy(make_run("cooling"), BLOCKED_COUNT, keys=50)
    _copy(make_run("retired", deployment=None), BLOCKED_COUNT)
    finished = make_run("past", state="completed")
    make_attempt(finished, outcome="completed")
    make_checkpoint(finished)
    _copy(finished, FINISHED_COUNT)
    running = make_run("past", state="running", worker_id=worker.id)
    make_attempt(running)
    make_checkpoint(running)
    _copy(running, RUNNING_COUNT - 2)
    _copy(make_run("full", state="running", concurrency_key="K", worker_id=worker.id), 1)
    _copy(make_run("past", state="retrying", due_at=timezone.now() - timedelta(seconds=DUE_COUNT)), WAITING_COUNT)
    with connection.cursor() as cursor:
        cursor.execute(COPY_REST, {"value": finished.id})
    RateLimit.objects.bulk_create(
        RateLimit(scope="key", name="free", concurrency_key=f"k{n}", arrives_at=timezone.now() + timedelta(hours=1))
        for n in range(KEY_COUNT, 2_000)
    )


def _copy(run: Run, count: int, *, keys: int = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute(COPY_RUNS, {"count": count - 1, "id": run.id, "keys": keys})


def analyze() -> None:
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ANALYZE {table}")


def some_running(count: int) -> list[Running]:
    rows = Attempt.objects.filter(outcome="", run__task_id="past", run__state="running").order_by("poll_id")[:count]
    return [Running(row.run_id, bytes(row.token), row.poll_id) for row in rows]


def new_id() -> UUID:
    return uuid7()
