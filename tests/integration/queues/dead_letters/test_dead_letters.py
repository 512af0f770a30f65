"""Requeue: the same run goes on with a fresh budget, on its own code or another that fits, or is refused."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.checkpoints.errors import DeploymentNotFound
from apps.queues.dead_letters.one import requeue, requeue_preview
from apps.queues.dead_letters.schemas import RequeuePreviewOut
from apps.queues.errors import RequeueRefused
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.models import Run, Task
from apps.runs.shown.run import RunOut
from apps.runs.states import RunState
from apps.storage.ids import uuid7
from tests.factories import bearer, make_attempt, make_run
from tests.integration.checkpoints.orders import TASK, deploy, original_run, point

pytestmark = pytest.mark.django_db

ERROR = {"type": "E", "message": "boom", "stack": "", "reason": "all 3 attempts are used"}
OTHER_STATES = [state for state in RunState if state is not RunState.DEAD_LETTER]


@pytest.fixture
def letter() -> Run:
    run = original_run(error=ERROR, started_at="2026-01-01T00:00:00Z", progress_attempt=1)
    make_attempt(run, outcome="failed", error={"type": "E", "message": "boom", "stack": ""})
    return run


def stored(run: Run) -> Run:
    return Run.objects.select_related("value").get(pk=run.pk)


def test_the_run_is_pending_again_with_what_it_has_saved(letter: Run) -> None:
    before = list(letter.checkpoints.order_by("index").values())

    run = requeue(run_id=letter.id)

    after = stored(letter)
    assert (run.state, after.state, after.id) == ("pending", "pending", letter.id)
    assert (after.finished_at, after.due_at, after.token) == (None, None, None)
    assert (after.attempt_count, after.budget_base, after.version) == (2, 2, letter.version + 1)
    assert after.started_at == stored(letter).started_at
    assert after.deployment == letter.deployment
    assert after.idempotency_scope is None
    assert list(letter.checkpoints.order_by("index").values()) == before


def test_the_last_error_stays_without_the_reason_that_is_no_longer_true(letter: Run) -> None:
    requeue(run_id=letter.id)

    assert stored(letter).value.error == {"type": "E", "message": "boom", "stack": ""}
    assert [attempt.error for attempt in letter.attempts.order_by("number")][1]["message"] == "boom"


@pytest.mark.parametrize("state", OTHER_STATES)
def test_only_a_dead_letter_may_be_requeued(state: RunState) -> None:
    run = original_run(state=state)

    for call in (requeue, requeue_preview):
        with pytest.raises(IllegalMove) as caught:
            call(run_id=run.id)
        assert caught.value.state == state
    assert stored(run).version == run.version


def test_an_unknown_run() -> None:
    for call in (requeue, requeue_preview):
        with pytest.raises(RunNotFound):
            call(run_id=uuid7())


def test_a_second_requeue_is_refused(letter: Run) -> None:
    requeue(run_id=letter.id)

    with pytest.raises(IllegalMove, match="A pending run cannot be requeued"):
        requeue(run_id=letter.id)


def test_it_may_go_on_with_another_deployment(letter: Run) -> None:
    second, third = deploy(), deploy()

    assert requeue(run_id=letter.id, deployment=second.public_id).deployment == second
    Run.objects.filter(pk=letter.pk).update(state="dead_letter", finished_at="2026-01-01T00:00:00Z")
    assert requeue(run_id=letter.id, deployment="latest").deployment == third
    Run.objects.filter(pk=letter.pk).update(state="dead_letter", finished_at="2026-01-01T00:00:00Z")
    assert requeue(run_id=letter.id).deployment == third


def refusal(run: Run, deployment: str) -> dict[str, str]:
    """Why, alike in the verb and its preview; the run is as it was."""
    before = stored(run)
    with pytest.raises(RequeueRefused) as caught:
        requeue(run_id=run.id, deployment=deployment)
    assert list(requeue_preview(run_id=run.id, deployment=deployment).refusals) == list(caught.value.errors)
    after = stored(run)
    assert (after.state, after.version, after.value.error) == ("dead_letter", before.version, before.value.error)
    return {error.path: error.message for error in caught.value.errors}


def test_code_without_the_last_checkpoint_is_refused(letter: Run) -> None:
    deploy([point("order-fetched", ["order"])])

    assert refusal(letter, "latest") == {
        "deployment": "orders v2 has no checkpoint 'shipped' to continue after; it has 'order-fetched'"
    }


def test_code_that_needs_what_is_not_stored_is_refused(letter: Run) -> None:
    deploy([point("shipped", needs=["order", "customer"])])

    assert refusal(letter, "latest") == {
        "deployment": "orders v2 needs `customer` after 'shipped', which the stored checkpoints do not hold"
    }


def test_code_that_does_not_take_the_payload_is_refused(letter: Run) -> None:
    deploy(payload_schema={"type": "object", "properties": {"order_id": {"type": "integer"}}})

    assert set(refusal(letter, "latest")) == {"payload.order_id"}


def test_a_retired_task_goes_on_where_it_is_only(letter: Run) -> None:
    Task.objects.filter(id=TASK).update(is_retired=True)

    assert "is retired" in refusal(letter, "latest")["deployment"]
    assert requeue(run_id=letter.id).state == "pending"


@pytest.mark.parametrize("wanted", ["nope", "dep_00000000000000000000000000", "a\0"])
def test_an_unknown_deployment(letter: Run, wanted: str) -> None:
    for call in (requeue, requeue_preview):
        with pytest.raises(DeploymentNotFound):
            call(run_id=letter.id, deployment=wanted)
    assert stored(letter).state == "dead_letter"


def test_the_preview_says_where_it_goes_on_and_what_has_changed(letter: Run) -> None:
    newest = deploy(segments=["s0", "CHANGED", "s2", "s3"])

    found = requeue_preview(run_id=letter.id, deployment="latest")

    assert (found.resumes_after, found.deployment, found.is_code_changed) == ("shipped", newest, True)
    assert found.warnings == [
        "The code that made 'page-1', 'payment-complete' is another one in orders v2; its old data is reused."
    ]
    assert requeue_preview(run_id=letter.id).is_code_changed is False
    unknown = deploy(segments=[])
    assert requeue_preview(run_id=letter.id, deployment=unknown.public_id).is_code_changed is None


def test_the_preview_writes_nothing(letter: Run) -> None:
    with CaptureQueriesContext(connection) as queries:
        requeue_preview(run_id=letter.id, deployment="latest")

    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert stored(letter).state == "dead_letter"


def post(client: Client, run_id: str, body: bytes = b"", suffix: str = "", role: str = "operator") -> Any:
    return client.generic(
        "POST",
        f"/api/v1/runs/{run_id}/requeue{suffix}",
        body,
        content_type="application/json",
        headers=bearer(role),
    )


def test_over_http_the_run_is_shown_and_audited(client: Client, letter: Run) -> None:
    newest = deploy()

    response = post(client, letter.public_id, b'{"deployment": "latest"}')

    assert response.status_code == 200, response.content
    shown = RunOut.model_validate(response.json())
    assert (shown.id, shown.state, shown.deployment) == (letter.public_id, "pending", newest.public_id)
    assert shown.error is not None
    assert shown.error.reason is None
    entry = AuditEntry.objects.get(action="runs.requeue")
    assert (entry.subject, entry.details) == (letter.public_id, {"deployment": "latest"})


def test_over_http_the_preview_has_its_documented_shape(client: Client, letter: Run) -> None:
    deploy([point("order-fetched", ["order"])])

    response = post(client, letter.public_id, b'{"deployment": "latest"}', "/preview")

    shown = RequeuePreviewOut.model_validate(response.json())
    assert response.status_code == 200
    assert (shown.resumes_after, shown.deployment.version, shown.is_code_changed) == ("shipped", 2, True)
    assert [refusal.path for refusal in shown.refusals] == ["deployment"]


@pytest.mark.parametrize("suffix", ["", "/preview"])
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "payload-malformed"),
        (b"[]", 422, "request-invalid"),
        (b'{"deploy": "latest"}', 422, "request-invalid"),
        (b'{"deployment": null}', 422, "request-invalid"),
        (b'{"deployment": "nope"}', 404, "deployment-not-found"),
    ],
)
def test_over_http_a_wrong_body_is_refused(
    client: Client, letter: Run, body: bytes, status: int, kind: str, suffix: str
) -> None:
    response = post(client, letter.public_id, body, suffix)

    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{kind}")
    assert stored(letter).state == "dead_letter"
    assert not AuditEntry.objects.filter(action="runs.requeue").exists()


def test_over_http_a_refusal_names_its_reasons(client: Client, letter: Run) -> None:
    deploy([])

    response = post(client, letter.public_id, b'{"deployment": "latest"}')

    assert (response.status_code, response.json()["type"]) == (422, "/problems/requeue-refused")
    assert [error["path"] for error in response.json()["errors"]] == ["deployment"]


def test_over_http_another_state_is_a_conflict_that_names_it(client: Client) -> None:
    run = make_run(state="completed")

    response = post(client, run.public_id)

    assert (response.status_code, response.json()["type"]) == (409, "/problems/illegal-move")
    assert response.json()["state"] == "completed"
    assert post(client, "run_00000000000000000000000000").status_code == 404
