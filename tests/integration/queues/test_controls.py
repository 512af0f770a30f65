"""What people set by hand: values are checked, the coordinators told, everything is audited."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.access.models import AuditEntry
from apps.live import notify as broadcast
from apps.live.notify import PENDING_CHANNEL
from apps.live.topics import QUEUES
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.queues.errors import LimitInvalid
from apps.queues.models import Queue
from apps.queues.schemas import QueueOut, QueuePage
from apps.runs.errors import TaskNotFound
from apps.runs.models import TaskControl
from apps.runs.shown.task import TaskDetailOut
from apps.storage.ids import uuid7
from tests.factories import bearer, make_run, make_task

pytestmark = pytest.mark.django_db

LIMIT = "1,000,000"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    channels: list[str] = []

    class Told:
        def publish(self, channel: str, text: str = "") -> None:
            channels.append(channel)

    monkeypatch.setattr(broadcast, "_notifier", Told())
    return channels


def test_queue_keeps_what_is_not_named(told: list[str], django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        set_queue("mail", is_paused=True, max_concurrency=5, rate_limit="100/m", max_depth=1_000_000)
        queue = set_queue("mail", max_concurrency=None, rate_limit=None)

    assert (queue.is_paused, queue.max_concurrency, queue.rate_limit, queue.max_depth) == (True, None, "", 1_000_000)
    assert Queue.objects.get() == queue
    assert told == [QUEUES.channel, PENDING_CHANNEL] * 2


def test_pause_of_a_queue_that_nothing_names_is_refused_with_similar_names(client: Client) -> None:
    make_task("send-mail", options={"queue": "mail"})

    answer = send(client, "PATCH", "/queues/mial", b'{"is_paused": true}')

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/queue-not-found")
    assert "Did you mean 'mail'?" in answer.json()["detail"]
    assert not Queue.objects.exists()
    assert set_queue("mail", is_paused=True).is_paused


def test_task_keeps_what_is_not_named_and_how_it_fails() -> None:
    make_task("noop")
    runs = [uuid7()]
    TaskControl.objects.create(task_id="noop", failing_runs=runs)

    set_task("noop", max_concurrency=1, max_concurrency_total=9, rate_limit="1/s", rate_limit_per_key="5/h")
    control = set_task("noop", is_paused=True, rate_limit=None)

    control.refresh_from_db()
    assert (control.is_paused, control.max_concurrency, control.max_concurrency_total) == (True, 1, 9)
    assert (control.rate_limit, control.rate_limit_per_key, control.failing_runs) == ("", "5/h", runs)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_concurrency", 0, f"a whole number from 1 to {LIMIT}"),
        ("max_concurrency", 1_000_001, f"a whole number from 1 to {LIMIT}"),
        ("max_concurrency", True, "a whole number"),
        ("max_concurrency", 1.0, "a whole number"),
        ("max_concurrency", "5", "a whole number"),
        ("rate_limit", "100 per minute", "such as 100/m"),
        ("rate_limit", "0/m", "such as 100/m"),
        ("rate_limit", "", "such as 100/m"),
        ("rate_limit", 100, "such as 100/m"),
        ("rate_limit", "1/m" + " " * 20, "such as 100/m"),
        ("is_paused", None, "true or false"),
        ("is_paused", 1, "true or false"),
        ("max_dept", 1, "unknown field"),
    ],
)
def test_value_that_nothing_can_have_is_refused_by_name_and_changes_nothing(
    field: str, value: Any, message: str
) -> None:
    make_task("noop")
    wanted: Any = {field: value}

    for call in (lambda: set_queue("noop", **wanted), lambda: set_task("noop", **wanted)):
        with pytest.raises(LimitInvalid) as caught:
            call()
        assert [error.path for error in caught.value.errors] == [field]
        assert message in caught.value.detail
    assert not Queue.objects.exists()
    assert not TaskControl.objects.exists()


@pytest.mark.parametrize("field", ["max_depth", "max_concurrency_total", "rate_limit_per_key"])
def test_each_has_fields_that_the_other_lacks(field: str) -> None:
    make_task("noop")
    wanted: Any = {field: "1/s" if "rate" in field else 1}
    call, other = (set_queue, set_task) if field == "max_depth" else (set_task, set_queue)

    call("noop", **wanted)
    with pytest.raises(LimitInvalid, match="unknown field"):
        other("noop", **wanted)


def test_nothing_to_change_unknown_tasks_and_impossible_names_are_refused() -> None:
    make_task("process-order")

    for call in (set_task, lift_cooldown):
        with pytest.raises(TaskNotFound, match="Did you mean 'process-order'"):
            call("proces-order", **({"is_paused": True} if call is set_task else {}))
        with pytest.raises(TaskNotFound):
            call("a\0", **({"is_paused": True} if call is set_task else {}))
    for name in ("", "x" * 129, "a\0"):
        with pytest.raises(LimitInvalid, match="name"):
            set_queue(name, is_paused=True)
    with pytest.raises(LimitInvalid, match="name one of"):
        set_queue("mail")
    with pytest.raises(LimitInvalid, match="name one of"):
        set_task("process-order")


def test_lift_forgets_the_failures_once() -> None:
    make_task("noop")
    TaskControl.objects.create(
        task_id="noop", is_paused=True, failing_runs=[uuid7() for _ in range(12)], cooling_until="2100-01-01T00:00Z"
    )

    assert lift_cooldown("noop")
    assert not lift_cooldown("noop")

    control = TaskControl.objects.get()
    assert (control.failing_runs, control.cooling_until, control.is_paused) == ([], None, True)


def send(client: Client, method: str, path: str, body: bytes = b"", role: str = "operator") -> Any:
    return client.generic(method, f"/api/v1{path}", body, content_type="application/json", headers=bearer(role))


def changes() -> Any:
    """What was audited, but for the making of the tests' keys."""
    return AuditEntry.objects.exclude(action="keys.create")


def test_queue_over_http(client: Client) -> None:
    make_task("noop", options={"queue": "a/b"})
    make_run("noop", queue="a/b")
    make_run("noop", queue="a/b", state="delayed")
    make_run("noop", queue="a/b", state="running")
    make_run("noop", queue="other", state="retrying")
    make_run("noop", queue="done", state="completed")
    make_task("idle")

    changed = send(client, "PATCH", "/queues/a/b", b'{"max_depth": 10, "rate_limit": "5/s"}')
    listed = send(client, "GET", "/queues", role="viewer")

    shown = QueueOut.model_validate(changed.json())
    assert (shown.name, shown.max_depth, shown.rate_limit, shown.is_paused) == ("a/b", 10, "5/s", False)
    assert (shown.depth, shown.pending_count, shown.delayed_count, shown.running_count) == (2, 1, 1, 1)
    assert shown.tasks == ["noop"]
    assert shown.oldest_wait_seconds is not None
    page = QueuePage.model_validate(listed.json())
    assert [queue.name for queue in page.items] == ["a/b", "idle", "other"]
    assert page.items[0] == shown.model_copy(update={"oldest_wait_seconds": page.items[0].oldest_wait_seconds})
    assert page.items[2].retrying_count == 1
    assert QueueOut.model_validate(send(client, "GET", "/queues/idle").json()).tasks == ["idle"]
    entry = changes().get()
    assert (entry.action, entry.subject, entry.details) == (
        "queues.change", "a/b", {"max_depth": 10, "rate_limit": "5/s"}
    )  # fmt: skip


def test_queues_come_in_pages(client: Client) -> None:
    for name in ("a", "b", "c"):
        set_queue(name, max_depth=1)

    first = send(client, "GET", "/queues?limit=2").json()
    second = send(client, "GET", f"/queues?limit=2&cursor={first['next_cursor']}").json()

    assert [queue["name"] for queue in first["items"]] == ["a", "b"]
    assert ([queue["name"] for queue in second["items"]], second["next_cursor"]) == (["c"], None)


def test_task_over_http_shows_declared_override_and_effective(client: Client) -> None:
    make_task("noop", options={"max_concurrency": 20, "rate_limit": "100/m"})
    TaskControl.objects.create(
        task_id="noop", failing_runs=[uuid7() for _ in range(11)], cooling_until="2100-01-01T00:00Z"
    )

    changed = send(client, "PATCH", "/tasks/noop", b'{"max_concurrency": 2, "is_paused": true}')
    shown = TaskDetailOut.model_validate(send(client, "GET", "/tasks/noop", role="viewer").json())
    back = send(client, "PATCH", "/tasks/noop", b'{"max_concurrency": null, "is_paused": false}')

    assert TaskDetailOut.model_validate(changed.json()) == shown
    assert shown.is_paused
    assert shown.limits.max_concurrency.model_dump() == {"declared": 20, "override": 2, "effective": 2}
    assert shown.limits.rate_limit.model_dump() == {"declared": "100/m", "override": None, "effective": "100/m"}
    assert (shown.failing_count, shown.cooling_until is not None) == (11, True)
    after = TaskDetailOut.model_validate(back.json())
    assert (after.is_paused, after.limits.max_concurrency.effective) == (False, 20)
    lifted = [send(client, "DELETE", "/tasks/noop/cool-down") for _ in range(2)]
    assert [(answer.status_code, answer.json()["failing_count"]) for answer in lifted] == [(200, 0), (200, 0)]
    assert [entry.action for entry in changes().order_by("id")] == [
        "tasks.change", "tasks.change", "tasks.lift_cooldown"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("PATCH", "/queues/mail", b'{"max_depth": 0}', 422, "limit-invalid"),
        ("PATCH", "/queues/mail", b'{"rate_limit": "5"}', 422, "limit-invalid"),
        ("PATCH", "/queues/mail", b'{"max_depth": "1"}', 422, "request-invalid"),
        ("PATCH", "/queues/mail", b'{"depth": 1}', 422, "request-invalid"),
        ("PATCH", "/queues/mail", b"{}", 422, "limit-invalid"),
        ("PATCH", "/queues/" + "x" * 129, b'{"is_paused": true}', 422, "limit-invalid"),
        ("PATCH", "/tasks/noop", b'{"rate_limit_per_key": "x"}', 422, "limit-invalid"),
        ("PATCH", "/tasks/noop", b'{"max_depth": 1}', 422, "request-invalid"),
        ("PATCH", "/tasks/nop", b'{"is_paused": true}', 404, "task-not-found"),
        ("DELETE", "/tasks/nop/cool-down", b"", 404, "task-not-found"),
        ("GET", "/queues/mail", b"", 404, "queue-not-found"),
        ("GET", "/queues?limit=0", b"", 422, "request-invalid"),
        ("GET", "/queues?name=x", b"", 422, "request-invalid"),
    ],
)
def test_refusals_over_http_change_nothing(
    client: Client, method: str, path: str, body: bytes, status: int, kind: str
) -> None:
    make_task("noop")

    answer = send(client, method, path, body)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert not changes().exists()
    assert not Queue.objects.exists()
    assert not TaskControl.objects.exists()
