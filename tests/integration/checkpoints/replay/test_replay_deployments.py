"""On which code a replay goes on: chosen, found to fit what is stored, or refused naming what is missing."""

from typing import Any

import pytest

from apps.checkpoints.errors import DeploymentNotFound, ReplayRefused
from apps.http.errors import PayloadInvalid
from apps.runs.models import Run, Task
from apps.storage.ids import public_id, uuid7
from tests.factories import make_deployment, make_run, make_task
from tests.integration.checkpoints.orders import POINTS, TASK, again, deploy, order_with, original_run, point

pytestmark = pytest.mark.django_db


@pytest.fixture
def original() -> Run:
    return original_run()


def refusal(run: Run, key: str | None = None, **fields: Any) -> str:
    """The one reason, which is the deployment's."""
    with pytest.raises(ReplayRefused) as caught:
        again(run, key, **fields)
    assert Run.objects.count() == 1
    assert [error.path for error in caught.value.errors] == ["deployment"]
    return caught.value.errors[0].message


def test_the_newest_or_any_other_may_be_chosen(original: Run) -> None:
    second, third = deploy(), deploy()

    assert again(original, "shipped").deployment == original.deployment
    assert again(original, "shipped", deployment="latest").deployment == third
    assert again(original, "shipped", deployment=second.public_id).deployment == second


def test_a_run_that_never_started_is_replayed_on_the_newest() -> None:
    deploy()
    run = make_run(TASK, deployment=None)
    newest = deploy()

    assert again(run).deployment == newest


@pytest.mark.parametrize(
    "wanted",
    ["newest", "", "dep_", public_id("dep", uuid7()), public_id("run", uuid7()), "a\0b"],
    ids=["word", "empty", "prefix", "unknown", "run", "nul"],
)
def test_an_unknown_deployment(original: Run, wanted: str) -> None:
    with pytest.raises(DeploymentNotFound, match="There is no deployment"):
        again(original, deployment=wanted)

    assert Run.objects.count() == 1


def test_a_deployment_of_another_task_set(original: Run) -> None:
    stranger = make_deployment("mails")
    make_task("send-mail", deployment=stranger)

    with pytest.raises(DeploymentNotFound, match="is a deployment of the task set 'mails'; 'process-order' belongs to"):
        again(original, deployment=stranger.public_id)


def test_a_deployment_without_the_task(original: Run) -> None:
    other = make_deployment()
    make_task("ship-order", deployment=other)

    with pytest.raises(DeploymentNotFound, match="does not have the task 'process-order'"):
        again(original, deployment=other.public_id)


def test_a_retired_task_goes_on_where_it_is_and_nowhere_newer(original: Run) -> None:
    Task.objects.filter(id=TASK).update(is_retired=True)

    assert "is retired" in refusal(original, deployment="latest")
    assert again(original).deployment == original.deployment


def test_a_retired_task_has_no_code_for_a_run_that_never_started() -> None:
    deploy()
    run = make_run(TASK, deployment=None)
    Task.objects.filter(id=TASK).update(is_retired=True)

    assert "is retired" in refusal(run)


def test_a_checkpoint_that_the_chosen_code_lacks(original: Run) -> None:
    deploy([point("order-fetched", ["order"])])

    assert refusal(original, "payment-complete", deployment="latest") == (
        "orders v2 has no checkpoint 'payment-complete' to continue after; it has 'order-fetched'"
    )
    assert again(original, "page-1", deployment="latest").deployment_id == Task.objects.get(id=TASK).deployment_id


def test_a_checkpoint_that_the_chosen_code_lacks_further_up_does_no_harm(original: Run) -> None:
    deploy([point("payment-complete", ["payment"], needs=["order", "payment"])])

    assert again(original, "payment-complete", deployment="latest").replay_from == "payment-complete"


def test_names_that_the_chosen_code_needs_and_nothing_holds(original: Run) -> None:
    deploy([POINTS[0], point("payment-complete", ["payment"], needs=["customer", "order", "tax"])])

    assert refusal(original, "payment-complete", deployment="latest") == (
        "orders v2 needs `customer`, `tax` after 'payment-complete', which no stored checkpoint holds"
    )


def test_a_carried_name_counts_as_held_and_a_stored_but_unbound_one_does_not(original: Run) -> None:
    deploy([point("payment-complete", ["payment"], needs=["items"])])
    assert again(original, "payment-complete", deployment="latest").pk

    deploy([point("order-fetched", ["order", "note"], needs=["note"])])
    with pytest.raises(ReplayRefused, match="needs `note`"):
        again(original, "order-fetched", deployment="latest")


def test_an_edit_may_give_what_the_chosen_code_needs(original: Run) -> None:
    names = ["order", "customer"]
    deploy([point("order-fetched", names, data_keys=[*names, "note"], needs=names)])
    given = {"order-fetched": {**order_with(), "customer": "C1"}}

    assert again(original, "order-fetched", deployment="latest", checkpoint_data=given).pk
    with pytest.raises(ReplayRefused, match="needs `customer`"):
        again(original, "order-fetched", deployment="latest")


def test_code_that_would_save_a_reused_checkpoint_once_more(original: Run) -> None:
    deploy([point("payment-complete", ["payment"]), point("order-fetched", ["order"])])

    assert refusal(original, "payment-complete", deployment="latest") == (
        "orders v2 saves 'order-fetched' after 'payment-complete', but the run has saved it before"
    )
    assert again(original, "page-1", deployment="latest").replay_from == "page-1"


@pytest.mark.parametrize(
    ("points", "after"),
    [([point("order-fetched", ["order"]), point("page-1")], " after 'order-fetched'"), ([point("page-1")], "")],
)
def test_a_step_that_is_a_checkpoint_in_the_chosen_code(points: list[dict[str, Any]], after: str) -> None:
    run = original_run()
    run.checkpoints.exclude(key__in=["page-1", *(point["key"] for point in points)]).delete()
    deploy(points)

    assert refusal(run, "page-1", deployment="latest") == (
        f"orders v2 saves 'page-1'{after}, but the run has saved it before"
    )
    assert again(run, deployment="latest").replay_from == ""


def test_the_own_code_is_checked_like_any_other() -> None:
    deploy([point("order-fetched", ["order"], needs=["order", "gone"])])
    run = original_run()

    assert "needs `gone`" in refusal(run, "order-fetched")


def test_after_a_step_alone_nothing_is_needed(original: Run) -> None:
    original.checkpoints.exclude(kind="step").delete()
    deploy([])

    assert again(original, "page-1", deployment="latest").replay_from == "page-1"


SCHEMA = {"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id", "customer"]}


def test_another_code_must_take_the_payload_also_unedited(original: Run) -> None:
    deploy(payload_schema=SCHEMA)

    with pytest.raises(PayloadInvalid) as caught:
        again(original, "page-1", deployment="latest")

    assert {error.path for error in caught.value.errors} == {"payload.order_id", "payload.customer"}
    edited = {"order_id": 1, "customer": "C1"}
    assert again(original, "page-1", deployment="latest", payload=edited).value.payload == (
        '{"order_id":1,"customer":"C1"}'
    )


def test_the_own_code_takes_the_payload_that_it_took_before() -> None:
    deploy(payload_schema=SCHEMA)

    assert again(original_run(), "page-1").value.payload == '{"order_id":"A1", "total":10.10}'
