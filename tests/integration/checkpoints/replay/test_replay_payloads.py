"""Another payload for a replay: fitting the task, seen by the code that runs again, and every reason told at once."""

from typing import Any

import pytest

from apps.checkpoints.models import Checkpoint
from apps.http.errors import PayloadInvalid, PayloadTooLarge
from apps.runs.models import Run
from tests.factories import make_checkpoint, make_run
from tests.integration.checkpoints.orders import TASK, again, deploy, original_run, point, refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def original() -> Run:
    return original_run()


def run_that_restores_a_parameter() -> Run:
    deploy([point("order-fetched", ["order_id"])])
    run = make_run(TASK, state="dead_letter", payload='{"order_id":"A1","total":1}')
    make_checkpoint(run, "order-fetched", data='{"order_id":"A2"}', binds=["order_id"])
    make_checkpoint(run, "page-1", kind="step", data="1")
    return run


@pytest.mark.parametrize("payload", [{"order_id": "B1", "total": 1}, {"total": 1}])
def test_a_payload_edit_that_a_checkpoint_hides_is_refused(payload: Any) -> None:
    run = run_that_restores_a_parameter()

    assert refused(run, "page-1", payload=payload) == {
        "payload.order_id": "payload.order_id is restored from 'order-fetched'; edit it there"
    }
    assert again(run, payload=payload).value.payload != run.value.payload


def test_a_payload_whose_hidden_fields_are_the_same_is_taken() -> None:
    run = run_that_restores_a_parameter()

    copy = again(run, "page-1", payload={"order_id": "A1", "total": 2})

    assert copy.value.payload == '{"order_id":"A1","total":2}'


def test_a_payload_equal_to_the_original_stays_byte_for_byte(original: Run) -> None:
    copy = again(original, payload={"total": 10.1, "order_id": "A1"})

    assert copy.value.payload == original.value.payload


SCHEMA = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}, "total": {"type": "number"}},
    "required": ["order_id"],
}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"order_id": 1}, "payload.order_id"),
        ({}, "payload.order_id"),
        ([1], "payload"),
        (None, "payload"),
        ({"order_id": "a\0"}, "payload.order_id"),
        ({"order_id": float("nan")}, "payload"),
    ],
)
def test_an_edited_payload_must_fit_the_task(payload: Any, path: str) -> None:
    deploy(payload_schema=SCHEMA)
    run = original_run()

    with pytest.raises(PayloadInvalid) as caught:
        again(run, payload=payload)

    assert [error.path for error in caught.value.errors] == [path]
    assert Run.objects.count() == 1


def test_an_edited_payload_is_bounded(original: Run) -> None:
    with pytest.raises(PayloadTooLarge):
        again(original, payload={"order_id": "a" * 3_000_000})

    assert Run.objects.count() == 1


def test_a_payload_that_is_too_large_is_among_the_other_reasons(original: Run) -> None:
    reasons = refused(original, "page-1", payload={"order_id": "a" * 3_000_000}, checkpoint_data={"nope": 1})

    assert set(reasons) == {"payload", "checkpoint_data.nope"}
    assert "the limit is 3,000,000" in reasons["payload"]


WITH_EXTRA = {"type": "object", "properties": {"order_id": {}}, "additionalProperties": {}, "x-extra": "options"}


@pytest.mark.parametrize(
    "stored", [{"carried": '{"options":{"x":5}}'}, {"data": '{"options":{"x":5}}', "binds": ["options"]}]
)
@pytest.mark.parametrize("payload", [{"order_id": 1, "x": 2}, {"order_id": 1}, {"order_id": 1, "x": 1, "options": 1}])
def test_an_edit_of_a_field_within_hidden_extra_arguments_is_refused(stored: Any, payload: Any) -> None:
    deploy([point("order-fetched")], payload_schema=WITH_EXTRA)
    run = make_run(TASK, state="dead_letter", payload='{"order_id":1,"x":1}')
    make_checkpoint(run, "order-fetched", **{"data": "{}", **stored})
    name = "options" if "options" in payload else "x"

    assert refused(run, "order-fetched", payload=payload) == {
        f"payload.{name}": f"payload.{name} is restored in `options` from 'order-fetched'; edit it there"
    }
    assert again(run, "order-fetched", payload={"order_id": 2, "x": 1}).value.payload == '{"order_id":2,"x":1}'


def test_a_local_name_hides_no_field_of_the_extra_arguments() -> None:
    deploy([point("order-fetched", ["x"])], payload_schema=WITH_EXTRA)
    run = make_run(TASK, state="dead_letter", payload='{"order_id":1,"x":1}')
    make_checkpoint(run, "order-fetched", data='{"x":7}', binds=["x"])

    assert again(run, "order-fetched", payload={"order_id": 1, "x": 2}).value.payload == '{"order_id":1,"x":2}'


def test_all_reasons_come_at_once() -> None:
    deploy(payload_schema=SCHEMA)
    run = original_run()

    reasons = refused(run, "page-1", payload={"order_id": 1}, checkpoint_data={"nope": 1, "shipped": {}})

    assert set(reasons) == {"payload.order_id", "checkpoint_data.nope", "checkpoint_data.shipped"}


def test_a_big_integer_of_the_payload_survives(original: Run) -> None:
    copy = again(original, payload={"order_id": "A1", "n": 2**70})

    assert copy.value.payload == '{"order_id":"A1","n":1180591620717411303424}'
    assert not Checkpoint.objects.filter(run=copy).exists()
