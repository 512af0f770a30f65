"""Which indexes the filters of the runs list use, among runs of which few match."""

from datetime import timedelta

import pytest
from django.db import connection
from django.http import QueryDict

from apps.http.pages import page_of
from apps.runs.list.filters import RunFilter
from apps.runs.models import Run
from apps.storage.ids import public_id
from tests.factories import make_run

pytestmark = pytest.mark.django_db

MANY = 3_000
INSERT_MANY = """
    INSERT INTO runs_run (id, task_id, state, queue, priority, concurrency_key, tags, idempotency_key, max_attempts,
                          attempt_count, progress_attempt, budget_base, is_cancel_requested, has_run_out_of_memory,
                          replay_from, version, created_at)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid,
           'process-order', 'pending', 'process-order', 0, '', '{}', '', 3, 0, 0, 0, false, false, '', 0, at
    FROM generate_series(1, %(count)s) AS n, LATERAL (SELECT %(first)s + n * interval '10 s' AS at) AS time
"""


@pytest.fixture
def rare() -> Run:
    """A run that has all of what no other has, older than all of them."""
    original = make_run("process-order", state="completed")
    rare = make_run("rare", state="dead_letter", tags=["rare"], replay_of=original)
    with connection.cursor() as cursor:
        cursor.execute(INSERT_MANY, {"first": rare.created_at, "count": MANY})
        cursor.execute("ANALYZE runs_run")
    return rare


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("state=dead_letter", "run_by_state_idx"),
        ("state=dead_letter&state=canceled", "run_by_state_idx"),
        ("task=rare", "run_of_task_idx"),
        ("q=rar", "run_of_task_idx"),
        ("tag=rare", "run_tags_idx"),
        ("replay_of={original}", "run_replays_idx"),
        ("until={later}", "runs_run_pkey"),
        ("", "runs_run_pkey"),
    ],
)
def test_list_reads_by_index(rare: Run, query: str, index: str) -> None:
    later = (rare.created_at + timedelta(seconds=1)).isoformat().replace("+", "%2B")
    address = query.format(original=public_id("run", rare.replay_of_id), later=later)  # type: ignore[arg-type]
    runs = RunFilter.read(QueryDict(address)).apply(Run.objects.all())

    plan = runs.newest_first()[:51].explain()

    assert index in plan, plan
    assert "Seq Scan on runs_run" not in plan, plan
    if query and "until" not in query:
        assert [run.id for run in page_of(runs, limit=50).rows] == [rare.id]


def test_since_and_until_bound_the_ids_that_are_read(rare: Run) -> None:
    at = rare.created_at.isoformat().replace("+", "%2B")

    plan = RunFilter.read(QueryDict(f"since={at}&until={at}")).apply(Run.objects.all()).newest_first()[:51].explain()

    condition = plan.partition("Index Cond:")[2].splitlines()[0]
    assert "id >=" in condition, plan
    assert "id <" in condition, plan
