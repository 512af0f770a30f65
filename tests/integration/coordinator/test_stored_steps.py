"""Results of steps at the coordinator: stored beside checkpoints, given out in pages, large ones one at a time."""

import json

import pytest

from apps import protocol as wire
from apps.checkpoints import store
from apps.checkpoints.models import Checkpoint
from apps.runs.models import Run
from tests.coordinator_harness import Coordinator, Refused, again, checkpoint_of, start_of


def step_of(
    claim: wire.Claim, key: str, data: bytes = b'{"page":1}', duration: float | None = 0.5
) -> wire.CheckpointItem:
    return checkpoint_of(claim, key=key, data=data, binds=[], kind="step", duration_seconds=duration)


def test_step_is_stored_with_its_kind_and_duration(coordinator: Coordinator, claim: wire.Claim) -> None:
    results = coordinator.save(checkpoint_of(claim), step_of(claim, "page-1"), step_of(claim, "page-2", b"7", None))

    assert [(result.status, result.index) for result in results] == [(200, 0), (200, 1), (200, 2)]
    rows = Checkpoint.objects.filter(run_id=claim.run_id).order_by("index")
    assert [(row.kind, row.data, row.duration_seconds, row.codec) for row in rows] == [
        ("checkpoint", '{"a":1}', None, 1),
        ("step", '{"page":1}', 0.5, 1),
        ("step", "7", None, 1),
    ]


def test_a_step_counts_as_progress_of_its_attempt(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.save(step_of(claim, "page-1"))

    assert Run.objects.get(id=claim.run_id).progress_attempt == 1


def test_step_sent_again_gets_its_answer_and_another_result_is_refused(
    coordinator: Coordinator, claim: wire.Claim
) -> None:
    coordinator.save(step_of(claim, "page-1"))

    again_same, other = (coordinator.save(step_of(claim, "page-1", data))[0] for data in (b'{"page":1}', b"2"))

    assert (again_same.status, again_same.index) == (200, 0)
    assert (other.status, other.code) == (409, "conflict")


def test_step_and_checkpoint_share_their_keys(coordinator: Coordinator, claim: wire.Claim) -> None:
    """Equal data does not make them one."""
    coordinator.save(checkpoint_of(claim, key="half", data=b"{}", binds=[]))

    (result,) = coordinator.save(step_of(claim, "half", b"{}"))

    assert (result.status, result.code) == (409, "conflict")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "wait"}, "neither checkpoint nor step"),
        ({"kind": "step", "codec": 2}, "Version 2 of the codec is unknown"),
        ({"kind": "step", "duration_seconds": -1.0}, "not a number of seconds"),
        ({"kind": "step", "duration_seconds": float("nan")}, "not a number of seconds"),
        ({"kind": "step", "duration_seconds": float("inf")}, "not a number of seconds"),
        ({"data": b"[1]"}, "no object of names"),
        ({"data": b"null"}, "no object of names"),
        ({"carried": b"[1]"}, "no object of names"),
        ({"carried": b' "a"'}, "no object of names"),
        ({"carried": b'{"\\ud800":1}'}, "lone surrogate"),
        ({"kind": "step", "data": b'"\\uDFFF"'}, "lone surrogate"),
    ],
)
def test_what_a_hostile_process_sends_is_refused_alone(
    coordinator: Coordinator, claim: wire.Claim, fields: dict[str, object], message: str
) -> None:
    good, bad = coordinator.save(step_of(claim, "good"), checkpoint_of(claim, key="bad", **fields))

    assert good.status == 200
    assert (bad.status, bad.code) == (422, "invalid")
    assert message in bad.message


def test_next_attempt_is_given_all_in_commit_order(
    coordinator: Coordinator, claim: wire.Claim, worker_id: object
) -> None:
    coordinator.starts(start_of(claim))
    coordinator.save(step_of(claim, "page-1"), checkpoint_of(claim), step_of(claim, "page-2"))
    second = again(coordinator, worker_id, claim)  # type: ignore[arg-type]

    stored = coordinator.stored(second.run_id, second.token)

    assert [(item.key, item.kind, item.index) for item in stored] == [
        ("page-1", "step", 0),
        (checkpoint_of(claim).key, "checkpoint", 1),
        ("page-2", "step", 2),
    ]


class TestPages:
    """With limits small enough to count by hand."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "INLINE_BYTES", 2_500)
        monkeypatch.setattr(store, "PAGE_BYTES", 3_000)

    @pytest.fixture
    def saved(self, coordinator: Coordinator, claim: wire.Claim) -> wire.Claim:
        """Nine steps of 1,002 bytes with two checkpoints of 1,500 among them."""
        for number in range(9):
            coordinator.save(step_of(claim, f"page-{number}", json.dumps(str(number) * 1000).encode()))
            if number in (3, 6):
                data = json.dumps({"a": "x" * 1492}, separators=(",", ":")).encode()
                assert len(data) == 1500
                coordinator.save(checkpoint_of(claim, key=f"half-{number}", data=data))
        return claim

    def test_results_beyond_the_first_are_only_named(self, coordinator: Coordinator, saved: wire.Claim) -> None:
        stored = coordinator.stored(saved.run_id, saved.token)

        assert [item.index for item in stored] == list(range(11))
        assert [item.key for item in stored if item.data is None] == [f"page-{number}" for number in range(2, 9)]
        assert [item.key for item in stored if item.kind == "checkpoint"] == ["half-3", "half-6"]

    def test_pages_are_bounded_and_end(self, coordinator: Coordinator, saved: wire.Claim) -> None:
        first = coordinator.stored_page(saved.run_id, saved.token)
        assert first.next_after is not None
        second = coordinator.stored_page(saved.run_id, saved.token, first.next_after)

        sizes = [sum(200 + len(item.data or b"") for item in page.items) for page in (first, second)]
        assert all(0 < size < 3_000 + 1_700 for size in sizes)
        assert first.items[-1].index + 1 == second.items[0].index
        last = coordinator.stored_page(saved.run_id, saved.token, 9)
        assert ([item.index for item in last.items], last.next_after) == ([10], None)

    def test_named_results_are_read_one_at_a_time(self, coordinator: Coordinator, saved: wire.Claim) -> None:
        data = coordinator.stored_data(saved.run_id, saved.token, 2)

        assert data == json.dumps("2" * 1000).encode()
        assert coordinator.stored_data(saved.run_id, saved.token, 99) is None

    def test_a_page_behind_the_last_is_empty(self, coordinator: Coordinator, saved: wire.Claim) -> None:
        page = coordinator.stored_page(saved.run_id, saved.token, 10)

        assert (page.items, page.next_after) == ([], None)


def test_stale_reads_are_refused(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.save(step_of(claim, "page-1"))

    for read in (
        lambda: coordinator.stored_data(claim.run_id, b"x" * 16, 0),
        lambda: coordinator.stored_page(claim.run_id, b"x" * 16, 0),
    ):
        with pytest.raises(Refused, match="409"):
            read()


@pytest.mark.parametrize(
    "address", ["checkpoints/x", "checkpoints/-1", "checkpoints?after=x", "checkpoints/99999999999"]
)
def test_wrong_indexes_are_no_addresses(coordinator: Coordinator, claim: wire.Claim, address: str) -> None:
    headers = {"x-attempt-token": claim.token.hex()}

    status, _ = coordinator.request("GET", f"runs/{claim.run_id}/{address}", headers=headers).wait()

    assert status == 404
