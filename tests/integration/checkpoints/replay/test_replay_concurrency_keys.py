"""Which concurrency key a replay has: its own payload's, by the deployment that it runs on, or what a person gave."""

from typing import Any

import pytest
from django.test import Client

from apps.checkpoints.replay.plan import ReplayRequest
from apps.checkpoints.replay.preview import preview
from apps.http.errors import PayloadInvalid
from apps.runs.models import Run
from tests.factories import bearer
from tests.integration.checkpoints.orders import again, deploy, original_run

pytestmark = pytest.mark.django_db

BY_CUSTOMER = {"concurrency_key": "payload.customer.id", "max_concurrency": 1}


def run_of(customer: Any = "a", key: str | None = None, **options: Any) -> Run:
    """A dead letter of a task with keys; `key`: another than its payload's."""
    deploy(options=options or BY_CUSTOMER)
    payload = f'{{"customer":{{"id":"{customer}"}},"total":1}}'
    return original_run(payload=payload, concurrency_key=customer if key is None else key)


def test_edited_payload_gives_its_own_key() -> None:
    run = run_of("a")

    assert again(run, payload={"customer": {"id": "b"}, "total": 1}).concurrency_key == "b"
    assert again(run, payload={"customer": {"id": 5}, "total": 1}).concurrency_key == "5"
    assert again(run, payload={"customer": {"id": "a"}, "total": 2}).concurrency_key == "a"
    assert again(run).concurrency_key == "a"


def test_key_that_was_given_at_the_trigger_stays() -> None:
    run = run_of("a", key="vip")

    assert again(run, payload={"customer": {"id": "b"}}).concurrency_key == "vip"


def test_key_stays_where_the_original_payload_has_none() -> None:
    run = run_of("a", key="vip", concurrency_key="payload.region")

    assert again(run, payload={"region": "eu"}).concurrency_key == "vip"


def test_deployment_that_takes_another_field_is_followed_without_an_edit() -> None:
    run = run_of("a")
    deploy(options={"concurrency_key": "payload.total"})

    assert again(run, deployment="latest").concurrency_key == "1"
    assert again(run).concurrency_key == "a"


def test_deployment_without_keys_gives_none() -> None:
    run = run_of("a")
    deploy()

    assert again(run, deployment="latest").concurrency_key == ""


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"total": 1}, "payload.customer"),
        ({"customer": "b"}, "payload.customer.id"),
        ({"customer": {"id": None}}, "payload.customer.id"),
    ],
)
def test_payload_without_the_field_is_refused_with_its_name(client: Client, payload: Any, path: str) -> None:
    run = run_of("a")

    with pytest.raises(PayloadInvalid, match="takes its concurrency key from it"):
        again(run, payload=payload)
    answer = client.post(
        f"/api/v1/runs/{run.public_id}/replays",
        {"payload": payload},
        content_type="application/json",
        headers=bearer("operator"),
    )

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert Run.objects.count() == 1


def test_preview_says_the_key_and_the_refusal() -> None:
    run = run_of("a")

    found = preview(ReplayRequest(run_id=run.id, payload={"customer": {"id": "b"}}))
    refused = preview(ReplayRequest(run_id=run.id, payload={}))

    assert (found.concurrency_key, found.original_concurrency_key) == ("b", "a")
    assert [error.path for error in refused.refusals] == ["payload.customer"]
