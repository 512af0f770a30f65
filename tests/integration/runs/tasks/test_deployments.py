"""Registering deployments: versions, what moves, what is refused, and two at once."""

import threading
from typing import Any

import pytest
from django.db import connection

from apps.access.models import AuditEntry
from apps.access.permissions import Actor
from apps.runs.errors import DeploymentRefused
from apps.runs.models import Deployment, Task, TaskVersion
from apps.runs.tasks.deployments import Registration, register
from tests.factories import make_run

ACTOR = Actor.of_console("test")


def a_task(task_id: str = "process-order", **overrides: Any) -> dict[str, Any]:
    return {
        "id": task_id,
        "options": {"retry": {"max_attempts": 3}},
        "payload_schema": {"type": "object"},
        "resume_points": [{"key": "order-fetched", "line": 9, "names": ["order"]}],
        "file": "tasks.py",
        "line": 7,
        **overrides,
    }


def deploy(archive: bytes = b"one", *tasks: dict[str, Any], task_set: str = "orders", errors: Any = ()) -> Registration:
    manifest = {"name": task_set, "tasks": list(tasks) or [a_task()], "errors": list(errors)}
    return register(task_set=task_set, archive=archive, manifest=manifest, actor=ACTOR)


@pytest.mark.django_db
def test_first_deployment_is_version_one_with_its_tasks() -> None:
    registration = deploy(b"one", a_task(), a_task("send-receipt", line=20))

    assert registration.is_new
    assert registration.deployment.version == 1
    assert dict(Task.objects.values_list("id", "deployment")) == {
        "process-order": registration.deployment.id,
        "send-receipt": registration.deployment.id,
    }
    version = TaskVersion.objects.get(task_id="send-receipt")
    assert (version.file, version.line, version.options) == ("tasks.py", 20, {"retry": {"max_attempts": 3}})
    assert version.resume_points == [{"key": "order-fetched", "line": 9, "names": ["order"]}]


@pytest.mark.django_db
def test_same_content_is_unchanged() -> None:
    first = deploy(b"one")

    second = deploy(b"one")

    assert not second.is_new
    assert second.deployment == first.deployment
    assert Deployment.objects.count() == 1
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_same_content_read_differently_is_a_new_version() -> None:
    deploy(b"one")

    assert deploy(b"one", a_task(payload_schema={"type": "object", "required": ["order_id"]})).deployment.version == 2


@pytest.mark.django_db
def test_going_back_to_earlier_content_is_a_new_version() -> None:
    versions = [deploy(archive).deployment.version for archive in (b"one", b"two", b"one")]

    assert versions == [1, 2, 3]


@pytest.mark.django_db
def test_missing_tasks_are_retired_and_come_back() -> None:
    deploy(b"one", a_task(), a_task("send-receipt"))

    second = deploy(b"two", a_task())
    assert second.retired == ("send-receipt",)
    assert Task.objects.get(id="send-receipt").is_retired
    assert not Task.objects.get(id="process-order").is_retired

    third = deploy(b"three", a_task(), a_task("send-receipt"))
    assert third.retired == ()
    assert not Task.objects.get(id="send-receipt").is_retired
    assert Task.objects.get(id="send-receipt").deployment == third.deployment


@pytest.mark.django_db
def test_runs_stay_on_the_deployment_that_they_started_on() -> None:
    first = deploy(b"one").deployment
    run = make_run(Task.objects.get(), state="running", deployment=first)

    deploy(b"two")

    run.refresh_from_db()
    assert run.deployment == first


@pytest.mark.django_db
def test_an_id_of_another_set_is_refused_and_changes_nothing() -> None:
    mine = deploy(b"one").deployment

    with pytest.raises(DeploymentRefused, match="'process-order' belongs to the task set 'orders'") as refused:
        deploy(b"other", a_task("new"), a_task(), task_set="billing")

    assert [error.path for error in refused.value.errors] == ["tasks.py:7"]
    assert list(Deployment.objects.all()) == [mine]
    assert list(Task.objects.values_list("id", "task_set")) == [("process-order", "orders")]


@pytest.mark.django_db
def test_one_wrong_task_is_refused_with_its_place_and_nothing_is_registered() -> None:
    wrong = a_task("other", options={"ttl_seconds": 0}, line=30)

    with pytest.raises(DeploymentRefused, match="must be a number from 1 to 31,536,000, not 0") as refused:
        deploy(b"one", a_task(), wrong)

    (error,) = refused.value.errors
    assert error.path == "tasks[1].options.ttl_seconds"
    assert error.message.endswith("(task 'other', tasks.py:30)")
    assert not Deployment.objects.exists()
    assert not Task.objects.exists()


@pytest.mark.django_db
def test_findings_of_the_inspection_are_refused_and_the_old_deployment_stays() -> None:
    old = deploy(b"one").deployment
    finding = {"file": "tasks.py", "line": 3, "column": 5, "code": "import_error", "message": "no module named 'shop'"}

    with pytest.raises(DeploymentRefused, match=r"tasks.py:3:5: no module named 'shop' \[import_error\]"):
        deploy(b"two", a_task(), errors=[finding])

    assert Task.objects.get().deployment == old


@pytest.mark.django_db
def test_a_folder_without_tasks_and_an_id_used_twice_are_refused() -> None:
    with pytest.raises(DeploymentRefused, match="no task was found"):
        register(task_set="orders", archive=b"", manifest={"tasks": [], "errors": []}, actor=ACTOR)
    with pytest.raises(DeploymentRefused, match="used twice"):
        deploy(b"one", a_task(), a_task())


@pytest.mark.django_db
def test_a_deploy_leaves_an_entry() -> None:
    deploy(b"one", a_task(), a_task("send-receipt"))
    deployment = deploy(b"two").deployment

    entry = AuditEntry.objects.get(subject=deployment.public_id)
    assert (entry.actor, entry.action) == ("console: test", "deployments.register")
    assert entry.details["version"] == 2
    assert entry.details["retired"] == ["send-receipt"]


@pytest.mark.django_db(transaction=True)
def test_many_deploys_at_once_get_consecutive_versions() -> None:
    outcomes = in_threads(*(lambda n=n: deploy(b"content %d" % n).deployment.version for n in range(5)))

    assert sorted(outcomes) == list(range(1, 6))
    newest = Deployment.objects.get(version=5)
    assert Task.objects.get().deployment == newest


@pytest.mark.django_db(transaction=True)
def test_two_sets_that_claim_one_id_at_once_cannot_both_have_it() -> None:
    outcomes = in_threads(*(lambda name=name: deploy(b"x", task_set=name).deployment.task_set for name in ("a", "b")))

    refused = [outcome for outcome in outcomes if isinstance(outcome, DeploymentRefused)]
    assert len(refused) == 1
    assert Task.objects.get().task_set in outcomes


@pytest.mark.django_db(transaction=True)
def test_the_same_content_deployed_twice_at_once_is_one_deployment() -> None:
    outcomes = in_threads(*(lambda: deploy(b"same").is_new for _ in range(4)))

    assert sorted(outcomes) == [False, False, False, True]


def in_threads(*calls: Any) -> list[Any]:
    """The results, or the refusals, of calls that begin together on connections of their own."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = []

    def work(call: Any) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(10)
            outcomes.append(call())
        except DeploymentRefused as refused:
            outcomes.append(refused)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == len(calls)
    return outcomes
