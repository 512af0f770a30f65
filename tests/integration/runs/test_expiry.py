"""Runs that do not start within their time to live expire, and no others do."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from apps.runs.lifecycle import EXPIRE_RUNS, expire_runs
from apps.runs.models import Run
from apps.runs.states import RunState
from apps.runs.ticks import expire_unstarted_runs
from tests.factories import make_run

pytestmark = pytest.mark.django_db

PAST = Now() - timedelta(seconds=1)


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.DELAYED])
def test_a_run_that_has_not_started_in_time_expires(state: RunState) -> None:
    run = make_run(state=state, expires_at=PAST)

    assert expire_runs() == [run.id]

    run.refresh_from_db()
    assert (run.state, run.due_at, run.finished_at is not None, run.version) == ("expired", None, True, 1)
    assert expire_runs() == []


@pytest.mark.parametrize("state", [state for state in RunState if state not in ("pending", "delayed")])
def test_no_other_state_expires(state: RunState) -> None:
    make_run(state=state, expires_at=PAST, attempt_count=0)

    assert expire_runs() == []


def test_a_run_that_has_started_once_does_not_expire() -> None:
    make_run(expires_at=PAST, attempt_count=1)
    make_run(expires_at=Now() + timedelta(minutes=1))
    make_run()

    assert expire_runs() == []
    assert set(Run.objects.values_list("state", flat=True)) == {"pending"}


def test_the_tick_goes_on_where_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_run(expires_at=PAST)
    monkeypatch.setattr("apps.runs.ticks.STEP_LIMIT", 3)

    assert [expire_unstarted_runs() for _ in range(3)] == [True, False, False]
    assert Run.objects.filter(state="expired").count() == 5


def test_the_plan_uses_the_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {EXPIRE_RUNS.text}", {"limit": 1000})
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "run_expiry_idx" in plan
