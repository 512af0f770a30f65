"""Reading runs, attempts, logs and tasks over HTTP: shapes, exact values, pages, filters, wrong parameters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.http.schemas import ProblemOut
from apps.runs.models import Run
from apps.runs.shown.attempt import AttemptList
from apps.runs.shown.log_line import LogPage
from apps.runs.shown.run import RunOut, RunPage
from apps.runs.shown.task import TaskDetailOut, TaskList
from apps.runs.states import RunState
from tests.factories import (
    bearer,
    make_attempt,
    make_deployment,
    make_log_line,
    make_run,
    make_task,
)

pytestmark = pytest.mark.django_db

EXACT = '{ "z":1e16,"a":-0.0, "price":10.10,"big":1180591620717411303424,"text":"ü\u2028\\u00e9</script>","z2":[ ]}'


@pytest.fixture
def get(client: Client) -> Any:
    headers = bearer("viewer")
    return lambda path, **query: client.get(f"/api/v1{path}", query, headers=headers)


def problem_of(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = ProblemOut.model_validate(response.json()).model_dump()
    assert problem["type"] == f"/problems/{kind}"
    return problem


@pytest.mark.parametrize("state", list(RunState))
def test_a_run_in_any_state_has_the_documented_shape(get: Any, state: RunState) -> None:
    error = {"type": "ValueError", "message": "no", "stack": "…", "reason": "all 3 attempts are used"}
    run = make_run(state=state, error=error if state == RunState.DEAD_LETTER else None)

    response = get(f"/runs/{run.public_id}")

    shown = RunOut.model_validate(response.json())
    assert (shown.id, shown.state, shown.created_at) == (run.public_id, state, run.created_at)
    assert (shown.finished_at is not None) == run.is_final


def test_values_go_out_byte_for_byte(get: Any) -> None:
    run = make_run(state="completed", payload=EXACT, output=EXACT)

    content = get(f"/runs/{run.public_id}").content.decode()

    assert f'"payload":{EXACT},' in content
    assert f'"output":{EXACT},' in content


def test_times_have_microseconds_and_are_utc(get: Any) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 0, tzinfo=UTC)
    run = make_run(state="completed", finished_at=at)

    assert get(f"/runs/{run.public_id}").json()["finished_at"] == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize(
    "identifier", ["x", "run_", "run_01m81zhhbteassqbqdg73wfv6n", "RUN_01m81zhhbteassqbqdg73wfv6n", "run_" + "z" * 26]
)
@pytest.mark.parametrize("rest", ["", "/attempts", "/logs", "/checkpoints", "/checkpoints/k"])
def test_unknown_run_is_not_found(get: Any, identifier: str, rest: str) -> None:
    problem_of(get(f"/runs/{identifier}{rest}"), 404, "run-not-found")


@pytest.mark.parametrize("seconds", ["-1", "60.5", "soon", "nan", ""])
def test_wait_seconds_out_of_range_are_refused(get: Any, seconds: str) -> None:
    problem = problem_of(get(f"/runs/{make_run().public_id}", wait_seconds=seconds), 422, "request-invalid")

    assert problem["errors"][0]["path"] == "wait_seconds"


def test_list_pages_through_all_runs_newest_first(get: Any) -> None:
    made = [make_run().public_id for _ in range(7)]

    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = RunPage.model_validate(get("/runs", limit=3, **cursor).json())
        seen += [item.id for item in page.items]
        cursor = {"cursor": page.next_cursor or ""}

    assert seen == made[::-1]
    assert page.next_cursor is None


def test_a_run_made_between_two_pages_shifts_nothing(get: Any) -> None:
    made = [make_run().public_id for _ in range(4)]
    first = get("/runs", limit=2).json()
    make_run()

    second = get("/runs", limit=2, cursor=first["next_cursor"]).json()

    assert [item["id"] for item in second["items"]] == made[1::-1]


def test_a_full_last_page_says_that_it_is_the_last(get: Any) -> None:
    make_run(), make_run()

    assert get("/runs", limit=2).json()["next_cursor"] is None


def test_filters_are_combined(get: Any) -> None:
    wanted = make_run("send-receipt", state="completed", queue="mail")
    make_run("send-receipt", state="completed")
    make_run("send-receipt", state="canceled", queue="mail")
    make_run("process-order", state="completed", queue="mail")

    page = get("/runs", task="send-receipt", state="completed", queue="mail").json()

    assert [item["id"] for item in page["items"]] == [wanted.public_id]


@pytest.mark.parametrize("name", ["task", "queue", "tag"])
def test_an_empty_filter_is_no_missing_one(get: Any, name: str) -> None:
    make_run()

    assert get("/runs", **{name: ""}).json()["items"] == []


def test_since_takes_the_exact_time(get: Any) -> None:
    older, newer = make_run(), make_run()
    Run.objects.filter(pk=older.pk).update(created_at=newer.created_at - timedelta(microseconds=1))

    page = get("/runs", since=newer.created_at.isoformat()).json()

    assert [item["id"] for item in page["items"]] == [newer.public_id]


def test_until_leaves_out_the_exact_time(get: Any) -> None:
    older, newer = make_run(), make_run()
    Run.objects.filter(pk=older.pk).update(created_at=newer.created_at - timedelta(microseconds=1))

    page = get("/runs", until=newer.created_at.isoformat()).json()

    assert [item["id"] for item in page["items"]] == [older.public_id]


def test_replays_of_a_run_are_listed(get: Any) -> None:
    original = make_run(state="completed")
    replay = make_run(replay_of=original)

    page = get("/runs", replay_of=original.public_id).json()

    assert [item["id"] for item in page["items"]] == [replay.public_id]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"replay_of": "run_x"}, "replay_of"),
        ({"until": "tomorrow"}, "until"),
        ({"state": "done"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"cursor": "abc"}, "cursor"),
        ({"sate": "pending"}, "sate"),
        ({"task": "a\x00b"}, "task"),
        ({"task": ["a", "b"]}, "task"),
    ],
)
def test_wrong_parameters_are_named(get: Any, query: dict[str, Any], path: str) -> None:
    problem = problem_of(get("/runs", **query), 422, "request-invalid")

    assert [error["path"] for error in problem["errors"]] == [path]


def test_attempts_are_shown_in_order(get: Any) -> None:
    run = make_run(state="running")
    make_attempt(run, number=1, outcome="failed", error={"type": "E", "message": "m", "stack": "s"}, exit_code=0)
    make_attempt(run, number=2, resumed_from="order-fetched", start_kind="warm", container="process 7")

    shown = AttemptList.model_validate(get(f"/runs/{run.public_id}/attempts").json()).items

    assert [(a.number, a.outcome, a.resumed_from, a.start_kind) for a in shown] == [
        (1, "failed", None, None),
        (2, None, "order-fetched", "warm"),
    ]
    assert shown[1].worker.startswith("wrk_")


def test_a_run_without_attempts_has_an_empty_list(get: Any) -> None:
    assert get(f"/runs/{make_run().public_id}/attempts").json() == {"items": []}


def test_logs_go_on_after_their_cursor_over_attempts(get: Any) -> None:
    run = make_run(state="running")
    for attempt, sequence in ((1, 1), (1, 2), (1, 10), (2, 1), (2, 2)):
        make_log_line(run, f"line {attempt}.{sequence}", attempt=attempt, sequence=sequence, fields={"n": sequence})
    address = f"/runs/{run.public_id}/logs"

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while page := LogPage.model_validate(get(address, limit=2, **cursor).json()):
        seen += [line.message for line in page.items]
        cursor = {"after": page.next_cursor or ""}
        if not page.items:
            break

    assert seen == ["line 1.1", "line 1.2", "line 1.10", "line 2.1", "line 2.2"]
    make_log_line(run, "line 2.3", attempt=2, sequence=3)
    assert [line["message"] for line in get(address, **cursor).json()["items"]] == ["line 2.3"]


@pytest.mark.parametrize("after", ["", "x", "1", "1-", "-1", "1-2-3", "1--2", "9999999999-1", "\u0661-\u0661"])
def test_a_false_log_cursor_is_refused(get: Any, after: str) -> None:
    problem = problem_of(get(f"/runs/{make_run().public_id}/logs", after=after), 422, "request-invalid")

    assert problem["errors"][0]["path"] == "after"


def test_tasks_are_listed_with_their_newest_version(get: Any) -> None:
    first = make_deployment()
    make_task(deployment=first, options={"retry": {"max_attempts": 3}})
    make_task("old", deployment=first, is_retired=True)
    second = make_deployment()
    make_task(deployment=second, options={"retry": {"max_attempts": 5}}, resume_points=[{"key": "k", "line": 3}])

    shown = TaskList.model_validate(get("/tasks").json()).items

    assert [(task.id, task.version, task.is_retired) for task in shown] == [
        ("old", 1, True),
        ("process-order", 2, False),
    ]
    assert shown[1].options == {"retry": {"max_attempts": 5}}
    assert shown[1].resume_points == [{"key": "k", "line": 3}]


def test_a_task_shows_its_versions_newest_first(get: Any) -> None:
    for _ in range(3):
        make_task(deployment=make_deployment(), options={"limit": 2**70})

    shown = TaskDetailOut.model_validate(get("/tasks/process-order").json())

    assert [version.version for version in shown.versions] == [3, 2, 1]
    assert shown.deployment == shown.versions[0].deployment
    assert shown.options == {"limit": 2**70}


def test_an_unknown_task_names_near_misses(get: Any) -> None:
    make_task()

    problem = problem_of(get("/tasks/process-odrer"), 404, "task-not-found")

    assert "'process-order'" in problem["detail"]
