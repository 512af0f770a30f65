import pytest
from django.test import Client

from apps.runs.tasks.page import task_lines
from tests.factories import (
    make_deployment,
    make_run,
    make_task,
)
from tests.integration.runs.pages import query_count, run_of

pytestmark = pytest.mark.django_db


def test_task_lines_show_version_resume_points_and_newest_run() -> None:
    make_task("process-order", resume_points=[{"key": "order-fetched", "line": 9, "names": ["order"]}])
    make_task("never-run", is_retired=True)
    make_run("process-order", id=run_of(1))
    newest = make_run("process-order", id=run_of(2), state="completed")

    first, second = task_lines()

    assert (first.id, first.resume_points, first.last_run_id) == ("process-order", ["order-fetched"], newest.public_id)
    assert first.last_run_badge is not None
    assert first.last_run_badge.word == "Completed"
    assert (second.id, second.is_retired, second.last_run_badge) == ("never-run", True, None)


def test_query_count_of_the_tasks_page_does_not_grow(viewer: Client) -> None:
    deployment = make_deployment()
    make_task("task-0", deployment=deployment)
    viewer.get("/tasks")
    few = query_count(lambda: viewer.get("/tasks"))
    for number in range(1, 10):
        make_run(make_task(f"task-{number}", deployment=deployment))

    assert query_count(lambda: viewer.get("/tasks")) <= few + 1 <= 10
