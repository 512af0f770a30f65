"""Edits of a replay: stored exactly, or refused with the path where nothing could read them or nobody see them."""

import tracemalloc
from itertools import accumulate
from typing import Any

import pytest
from trigger_sdk.values import codec

from apps.checkpoints.replay.edits import PART_BYTES
from apps.checkpoints.store import DATA_MAX_BYTES, content_hash
from apps.runs.models import Run
from tests.factories import make_checkpoint, make_run
from tests.integration.checkpoints.orders import TASK, again, deploy, order_with, original_run, point, refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def original() -> Run:
    return original_run()


def test_edited_data_is_stored_exactly_and_marked(original: Run) -> None:
    edited = order_with(big=2**200, name="ü\U0001f600", price={"$type": "decimal", "value": "10.10"})

    copy = again(original, "payment-complete", checkpoint_data={"order-fetched": edited})

    row = copy.checkpoints.get(key="order-fetched")
    assert codec.decode(row.data.encode())["order"]["big"] == 2**200
    assert '"price":{"$type":"decimal","value":"10.10"}' in row.data
    assert "ü\U0001f600" in row.data
    assert (row.is_edited, row.attempt, row.index, row.binds) == (True, 0, 0, ["order"])
    assert row.size_bytes == len(row.data.encode())
    assert bytes(row.content_hash) == content_hash("checkpoint", row.data.encode(), None, ["order"])
    assert not copy.checkpoints.exclude(key="order-fetched").filter(is_edited=True).exists()


def test_data_equal_to_what_is_stored_is_no_edit(original: Run) -> None:
    reordered = {"note": "x", "order": dict(reversed(order_with()["order"].items()))}

    copy = again(original, "page-1", checkpoint_data={"order-fetched": reordered})

    stored = original.checkpoints.get(key="order-fetched")
    row = copy.checkpoints.get(key="order-fetched")
    assert (row.data, row.is_edited, row.content_hash) == (stored.data, False, stored.content_hash)


@pytest.mark.parametrize(("old", "new"), [("1", True), ("1", 1.0), ("0.0", -0.0), ("null", False), ('"1"', 1)])
def test_values_of_another_kind_are_edits(original: Run, old: str, new: Any) -> None:
    make_checkpoint(original, "last", kind="step", data=old, index=4)

    copy = again(original, "last", checkpoint_data={"last": new})

    assert copy.checkpoints.get(key="last").is_edited


@pytest.mark.parametrize("value", [None, True, [], {}, "text", {"$type": "tuple", "value": [1]}, [{"a": [2**70]}]])
def test_the_result_of_a_step_may_become_any_value(original: Run, value: Any) -> None:
    row = again(original, "page-1", checkpoint_data={"page-1": value}).checkpoints.get(key="page-1")

    assert codec.encode(codec.decode(row.data.encode())) == row.data.encode()
    assert (row.is_edited, row.kind, row.duration_seconds) == (True, "step", 0.25)


def test_a_carried_name_may_be_edited_beside_the_data(original: Run) -> None:
    edited = {"payment": {"id": 1}, "items": [1.0, 2.5]}

    row = again(original, "payment-complete", checkpoint_data={"payment-complete": edited}).checkpoints.get(
        key="payment-complete"
    )

    assert (row.data, row.carried) == ('{"payment":{"id":1}}', '{"items":[1.0,2.5]}')
    assert row.size_bytes == len(row.data) + len(row.carried)


def test_a_carried_name_that_is_not_given_stays(original: Run) -> None:
    edited = {"payment": {"id": 2}}

    row = again(original, "payment-complete", checkpoint_data={"payment-complete": edited}).checkpoints.get(
        key="payment-complete"
    )

    assert row.carried == '{"items":[1.0]}'


def test_a_name_that_only_the_chosen_code_saves_is_bound_as_it_would_bind_it(original: Run) -> None:
    deploy(points=[point("order-fetched", ["order", "customer"], data_keys=["order", "note", "customer"])])

    data = {**order_with(), "customer": "C1"}
    copy = again(original, "order-fetched", deployment="latest", checkpoint_data={"order-fetched": data})

    assert copy.checkpoints.get(key="order-fetched").binds == ["order", "customer"]


def test_data_with_an_entry_called_type_stays_wrapped() -> None:
    deploy([point("k", ["a"], data_keys=["a", "$type"])])
    run = make_run(TASK, state="dead_letter")
    make_checkpoint(run, "k", data='{"$type":"dict","value":{"$type":"x","a":1}}', binds=["a"])

    wrapped = {"$type": "dict", "value": {"$type": "x", "a": 2}}
    row = again(run, "k", checkpoint_data={"k": wrapped}).checkpoints.get()

    assert row.data == '{"$type":"dict","value":{"$type":"x","a":2}}'


@pytest.mark.parametrize(
    ("start", "wanted", "reasons"),
    [
        ("page-1", {"nope": 1}, {"checkpoint_data.nope": "'nope' is no checkpoint of this run"}),
        (
            "page-1",
            {"shipped": {}},
            {"checkpoint_data.shipped": "'shipped' comes after 'page-1', so it would be made anew"},
        ),
        (
            None,
            {"page-1": 1},
            {"checkpoint_data.page-1": "'page-1' would be made anew: the replay begins at the start"},
        ),
        (
            "page-1",
            {"order-fetched": [1]},
            {"checkpoint_data.order-fetched": "the data of a checkpoint is an object; this one has `order`, `note`"},
        ),
        (
            "page-1",
            {"order-fetched": {"order": 1}},
            {"checkpoint_data.order-fetched.note": "is missing: the data is replaced whole"},
        ),
        (
            "page-1",
            {"order-fetched": {"order": 1, "note": "", "oder": 2}},
            {"checkpoint_data.order-fetched.oder": "'order-fetched' has no `oder`"},
        ),
        (
            "payment-complete",
            {"nope": 1, "payment-complete": {"x": 1}},
            {
                "checkpoint_data.nope": "'nope' is no checkpoint of this run",
                "checkpoint_data.payment-complete.payment": "is missing: the data is replaced whole",
                "checkpoint_data.payment-complete.x": "'payment-complete' has no `x`",
            },
        ),
        ("page-1", {"a\x00b": 1}, {"checkpoint_data.a\x00b": "'a\\x00b' is no checkpoint of this run"}),
    ],
)
def test_edits_that_do_not_fit_are_refused(
    original: Run, start: str | None, wanted: dict[str, Any], reasons: dict[str, str]
) -> None:
    assert refused(original, start, checkpoint_data=wanted) == reasons


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"a": ["x\0y"]}, ".a[0]", "NUL"),
        ({"a": "\ud800"}, ".a", "surrogate"),
        ({"a\0": 1}, "", "NUL"),
        ({"a": float("nan")}, ".a", "NaN"),
        ({"a": float("-inf")}, ".a", "Infinity"),
        ({"a": 10**4300}, "", "digits"),
        ({"a": {"$type": "decimal", "value": "ten"}}, ".a", "not a stored decimal"),
        ({"a": {"$type": "decimal", "value": "NaN"}}, ".a", "not a stored decimal"),
        ({"a": [{"$type": "hat"}]}, ".a[0]", "unknown"),
        ({"a": {"$type": None}}, ".a", "unknown"),
        ({"a": {"$type": "set", "value": [[1]]}}, ".a", "not a stored set"),
        ({"a": {"$type": "datetime", "value": "2026-13-01T00:00:00"}}, ".a", "not a stored datetime"),
        (deep(65), "", "levels deep"),
        (deep(100_000), "", "is not JSON"),
        ({"a": object()}, "", "is not JSON"),
        ({"a": b"x"}, "", "is not JSON"),
        ("a" * (DATA_MAX_BYTES - 1), "", "over the limit"),
    ],
    ids=[
        "NUL",
        "surrogate",
        "NUL in a key",
        "NaN",
        "infinite",
        "digits",
        "no decimal",
        "NaN decimal",
        "unknown type",
        "no type",
        "set of lists",
        "no date",
        "65 levels",
        "hostile depth",
        "an object",
        "bytes",
        "too large",
    ],
)
def test_values_that_could_not_be_stored_or_read_are_refused_with_their_path(
    original: Run, value: Any, path: str, message: str
) -> None:
    (found,) = refused(original, "page-1", checkpoint_data={"page-1": value}).items()

    assert found[0].startswith(f"checkpoint_data.page-1{path}")
    assert message in found[1]


def test_the_path_goes_on_below_the_names_of_a_checkpoint(original: Run) -> None:
    data = {"order": {"total": {"$type": "decimal", "value": ""}}, "note": "x"}

    assert list(refused(original, "page-1", checkpoint_data={"order-fetched": data})) == [
        "checkpoint_data.order-fetched.order.total"
    ]


def test_the_largest_and_deepest_values_are_taken(original: Run) -> None:
    copy = again(original, "page-1", checkpoint_data={"page-1": "ü" * (DATA_MAX_BYTES // 2 - 1)})
    assert copy.checkpoints.get(key="page-1").size_bytes == DATA_MAX_BYTES

    copy = again(original, "page-1", checkpoint_data={"page-1": deep(64)})
    assert copy.checkpoints.get(key="page-1").size_bytes == 129


def test_data_and_carried_names_share_one_limit(original: Run) -> None:
    half = "a" * (DATA_MAX_BYTES // 2)
    data = {"payment": half, "items": half}

    reasons = refused(original, "payment-complete", checkpoint_data={"payment-complete": data})

    assert list(reasons) == ["checkpoint_data.payment-complete"]
    assert "over the limit of 3,000,000" in reasons["checkpoint_data.payment-complete"]


def run_that_carries_the_order() -> Run:
    """A run that changed `order` between its two checkpoints, so that the second one carries it."""
    deploy()
    run = make_run(TASK, state="dead_letter", payload='{"order_id":"A1","total":1,"items":[]}')
    make_checkpoint(run, "order-fetched", data='{"order":{"id":1},"note":"x"}', binds=["order"])
    make_checkpoint(run, "payment-complete", data='{"payment":1}', binds=["payment"], carried='{"order":{"id":2}}')
    return run


def test_an_edit_that_a_later_checkpoint_hides_is_refused() -> None:
    run = run_that_carries_the_order()
    edited = {"order": {"id": 3}, "note": "x"}

    assert refused(run, "payment-complete", checkpoint_data={"order-fetched": edited}) == {
        "checkpoint_data.order-fetched.order": "`order` is restored from 'payment-complete', edit it there"
    }
    assert again(run, "order-fetched", checkpoint_data={"order-fetched": edited}).checkpoints.get().is_edited


def test_a_name_beside_the_hidden_one_may_be_edited() -> None:
    run = run_that_carries_the_order()

    copy = again(run, "payment-complete", checkpoint_data={"order-fetched": {"order": {"id": 1}, "note": "y"}})

    assert copy.checkpoints.get(key="order-fetched").data == '{"order":{"id":1},"note":"y"}'


def test_a_step_never_hides_an_edit() -> None:
    run = run_that_carries_the_order()
    make_checkpoint(run, "order", kind="step", data='{"order":9}', binds=["order"], index=2)
    edited = {"payment": 1, "order": {"id": 4}}

    copy = again(run, "order", checkpoint_data={"payment-complete": edited})

    assert copy.checkpoints.get(key="payment-complete").carried == '{"order":{"id":4}}'


@pytest.mark.parametrize(
    ("data", "carried", "message"),
    [
        ("[1]", None, "no object of names"),
        ("null", None, "no object of names"),
        ('{"$type":"tuple","value":[]}', None, "no object of names"),
        ("{}", "[1]", "no object of names"),
        ('{"a":' + "9" * 5_000 + "}", None, "cannot be read"),
    ],
)
def test_data_that_no_code_could_read_cannot_be_edited(data: str, carried: str | None, message: str) -> None:
    deploy([point("k", ["a"])])
    run = make_run(TASK, state="dead_letter")
    make_checkpoint(run, "k", data=data, carried=carried)

    (found,) = refused(run, "k", checkpoint_data={"k": {"a": 1}}).items()

    assert found[0] == "checkpoint_data.k"
    assert message in found[1]


def test_comparing_many_edits_holds_only_a_part_of_what_is_stored(original: Run) -> None:
    for number in range(30):
        make_checkpoint(original, f"large-{number}", kind="step", data=f'"{"x" * 1_000_000}"')
    wanted = {f"large-{number}": number for number in range(30)}

    tracemalloc.start()
    try:
        copy = again(original, "large-29", checkpoint_data=wanted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert copy.checkpoints.filter(is_edited=True).count() == 30
    assert peak < 2.5 * PART_BYTES


def test_a_replay_counts_what_it_stores_with_its_edits(original: Run) -> None:
    copy = again(original, "payment-complete", checkpoint_data={"order-fetched": order_with(note="x" * 500)})

    rows = list(copy.checkpoints.order_by("index").values_list("size_bytes", "stored_bytes"))
    assert [stored for _, stored in rows] == list(accumulate(size for size, _ in rows))


@pytest.mark.parametrize(
    ("edits", "path"), [({}, "from_checkpoint"), ({"order-fetched": order_with(note="y")}, "checkpoint_data")]
)
def test_a_replay_may_not_store_more_than_a_run(
    original: Run, monkeypatch: pytest.MonkeyPatch, edits: dict[str, Any], path: str
) -> None:
    monkeypatch.setattr("apps.checkpoints.replay.plan.STORED_MAX_BYTES", 10)

    assert path in refused(original, "payment-complete", checkpoint_data=edits)
