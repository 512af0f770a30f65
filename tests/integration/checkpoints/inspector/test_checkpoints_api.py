"""Reading checkpoints over HTTP: the list without data, one with its exact data."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.checkpoints.inspector.schemas import CheckpointList, CheckpointOut
from tests.factories import bearer, make_checkpoint, make_run

pytestmark = pytest.mark.django_db

EXACT = '{ "z":1e16,"a":-0.0, "price":{"$type":"decimal","value":"10.10"},"big":1180591620717411303424,"n":10.10}'


@pytest.fixture
def get(client: Client) -> Any:
    headers = bearer("viewer")
    return lambda path: client.get(f"/api/v1{path}", headers=headers)


def test_the_list_is_in_commit_order_and_reads_no_data(get: Any) -> None:
    run = make_run()
    make_checkpoint(run, "b", binds=["order"], carried='{"items":[1]}')
    make_checkpoint(run, "a", data='{"x":1}')
    address = f"/runs/{run.public_id}/checkpoints"
    get(address)

    with CaptureQueriesContext(connection) as queries:
        response = get(address)

    shown = CheckpointList.model_validate(response.json()).items
    assert [(item.key, item.index, item.binds, item.has_carried) for item in shown] == [
        ("b", 0, ["order"], True),
        ("a", 1, [], False),
    ]
    assert shown[1].size_bytes == 7
    assert not any('"data"' in query["sql"] for query in queries)


def test_data_goes_out_byte_for_byte(get: Any) -> None:
    run = make_run()
    make_checkpoint(run, "k", data=EXACT, carried=EXACT)

    response = get(f"/runs/{run.public_id}/checkpoints/k")

    CheckpointOut.model_validate(response.json())
    assert f'"data":{EXACT},' in response.content.decode()
    assert f'"carried":{EXACT}}}' in response.content.decode()


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("a/b", "a/b"),
        ("a/b", "a%2Fb"),
        ("50% off?", "50%25%20off%3F"),
        ("ü", "%C3%BC"),
        ("two\nlines", "two%0Alines"),
        ("..", ".."),
        ("x y", "x%20y"),
    ],
)
def test_any_key_can_be_asked_for(get: Any, key: str, quoted: str) -> None:
    run = make_run()
    make_checkpoint(run, key)

    assert get(f"/runs/{run.public_id}/checkpoints/{quoted}").json()["key"] == key


@pytest.mark.parametrize("quoted", ["none", "a%00b", "%FF"])
def test_an_unknown_key_is_not_found(get: Any, quoted: str) -> None:
    run = make_run()
    make_checkpoint(run)

    response = get(f"/runs/{run.public_id}/checkpoints/{quoted}")

    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
