"""Every write path: the present token is accepted, a stale one changes nothing, a repeat gets its first answer."""

import json
from uuid import UUID, uuid4

import pytest

from apps import protocol as wire
from apps.checkpoints.models import Checkpoint
from apps.runs.models import Attempt, LogLine, Run
from tests.coordinator_harness import (
    Coordinator,
    Refused,
    again,
    checkpoint_of,
    claimed_run,
    finish_of,
    log_of,
    run_of,
    start_of,
)


def test_first_attempt_writes_everything(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    lease = wire.Lease(claim.run_id, claim.token)

    started = coordinator.starts(start_of(claim))
    saved = coordinator.save(checkpoint_of(claim))
    logged = coordinator.log(log_of(claim, "charging"))
    beat = coordinator.beat(worker_id, lease)
    finished = coordinator.finish(finish_of(claim))

    assert [r.status for r in (*started, *saved, *logged, *finished)] == [200] * 4
    assert beat.stale == []
    run, attempt = run_of(claim), Attempt.objects.get(run_id=claim.run_id)
    assert (run.state, run.value.output, run.token) == ("completed", '{"paid":true}', None)
    assert (attempt.outcome, attempt.container, attempt.is_confirmed) == ("completed", "box-1", True)
    assert Checkpoint.objects.get(run=run).data == '{"a":1}'
    assert LogLine.objects.get(run=run).message == "charging"


@pytest.fixture
def stale(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> wire.Claim:
    """The first attempt of a run whose second attempt is alive on the same worker."""
    coordinator.starts(start_of(claim))
    again(coordinator, worker_id, claim)
    return claim


def test_stale_start_is_refused(coordinator: Coordinator, stale: wire.Claim) -> None:
    (result,) = coordinator.starts(start_of(stale, resumed_from="elsewhere"))

    assert (result.status, result.code) == (409, "stale")
    assert not Attempt.objects.filter(run_id=stale.run_id, resumed_from="elsewhere").exists()


def test_stale_checkpoint_is_refused(coordinator: Coordinator, stale: wire.Claim) -> None:
    (result,) = coordinator.save(checkpoint_of(stale))

    assert (result.status, result.code) == (409, "stale")
    assert not Checkpoint.objects.filter(run_id=stale.run_id).exists()


@pytest.mark.parametrize("outcome", ["completed", "failed", "timed_out", "crashed", "canceled", "released"])
def test_stale_finish_is_refused(coordinator: Coordinator, stale: wire.Claim, outcome: str) -> None:
    before = run_of(stale)

    (result,) = coordinator.finish(finish_of(stale, outcome))

    after = run_of(stale)
    assert (result.status, result.code) == (409, "stale")
    assert (after.state, after.token, after.version) == ("running", before.token, before.version)
    assert after.value.output is None
    assert list(Attempt.objects.filter(run=after).order_by("number").values_list("outcome", flat=True)) == ["lost", ""]


def test_stale_heartbeat_renews_nothing(coordinator: Coordinator, worker_id: UUID, stale: wire.Claim) -> None:
    before = run_of(stale).lease_end

    reply = coordinator.beat(worker_id, wire.Lease(stale.run_id, stale.token))

    assert reply.stale == [stale.run_id]
    assert run_of(stale).lease_end == before


def test_stale_lease_beside_the_live_one_of_the_same_worker_is_named(
    coordinator: Coordinator, worker_id: UUID, stale: wire.Claim
) -> None:
    live = bytes(run_of(stale).token or b"")

    reply = coordinator.beat(worker_id, wire.Lease(stale.run_id, stale.token), wire.Lease(stale.run_id, live))

    assert reply.stale == [stale.run_id]


def test_lease_of_another_worker_is_not_renewed(coordinator: Coordinator, claim: wire.Claim) -> None:
    reply = coordinator.beat(coordinator.register(), wire.Lease(claim.run_id, claim.token))

    assert reply.stale == [claim.run_id]


def test_stale_load_of_checkpoints_is_refused(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    """An empty answer would let the refused attempt run from the start what was done already."""
    coordinator.save(checkpoint_of(claim))
    following = again(coordinator, worker_id, claim)

    with pytest.raises(Refused) as refused:
        coordinator.stored(claim.run_id, claim.token)

    assert (refused.value.status, refused.value.kind) == (409, "stale")
    (stored,) = coordinator.stored(following.run_id, following.token)
    assert (stored.key, stored.data, stored.binds, stored.index) == ("order-fetched", b'{"a":1}', ["order"], 0)


def test_load_without_checkpoints_is_empty_for_the_present_token(coordinator: Coordinator, claim: wire.Claim) -> None:
    assert coordinator.stored(claim.run_id, claim.token) == []


def test_lines_of_an_ended_attempt_are_taken_for_a_minute(coordinator: Coordinator, stale: wire.Claim) -> None:
    (fresh,) = coordinator.log(log_of(stale, "last words"))
    Attempt.objects.filter(run_id=stale.run_id, number=1).update(finished_at="2001-01-01T00:00:00Z")
    (late,) = coordinator.log(log_of(stale, "from the grave", sequence=2))

    assert (fresh.status, late.status, late.code) == (200, 409, "stale")
    assert list(LogLine.objects.filter(run_id=stale.run_id).values_list("message", flat=True)) == ["last words"]


def test_lines_need_the_token_of_their_attempt(coordinator: Coordinator, claim: wire.Claim) -> None:
    forged = log_of(claim, "forged")
    forged.token = uuid4().bytes

    (result,) = coordinator.log(forged)

    assert result.status == 409
    assert not LogLine.objects.exists()


def test_a_foreign_token_writes_nothing(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    other = claimed_run(coordinator, worker_id)
    forged = wire.Claim(claim.run_id, "", 1, other.token, "", claim.deployment_id, b"", 3)

    statuses = [
        coordinator.starts(start_of(forged))[0].status,
        coordinator.save(checkpoint_of(forged))[0].status,
        coordinator.log(log_of(forged, "x"))[0].status,
        coordinator.finish(finish_of(forged))[0].status,
        coordinator.finish(finish_of(forged, "failed"))[0].status,
    ]

    assert statuses == [409] * 5
    assert run_of(claim).state == "running"


# Repeats.


def test_repeated_complete_gets_its_answer(coordinator: Coordinator, claim: wire.Claim) -> None:
    first = coordinator.finish(finish_of(claim))
    version = run_of(claim).version

    repeated = coordinator.finish(finish_of(claim))

    assert repeated == first == [wire.Result(200, state="completed")]
    assert run_of(claim).version == version


def test_repeated_failure_gets_its_answer_after_the_run_went_on(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    failure = finish_of(claim, "failed", error={"type": "CardDeclined", "message": "no", "stack": ""})
    first = coordinator.finish(failure)
    waiting = coordinator.finish(failure)
    Run.objects.filter(id=claim.run_id).update(due_at="2000-01-01T00:00:00Z")
    (following,) = coordinator.claim(worker_id, 1)
    running = coordinator.finish(failure)
    coordinator.finish(finish_of(following))
    completed = coordinator.finish(failure)

    assert first == waiting == running == completed == [wire.Result(200, state="retrying")]
    run = run_of(claim)
    assert (run.state, run.attempt_count, run.value.error) == ("completed", 2, None)


def test_another_outcome_for_an_ended_attempt_is_stale(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.finish(finish_of(claim))

    (failed,) = coordinator.finish(finish_of(claim, "failed"))

    assert (failed.status, run_of(claim).state) == (409, "completed")


def test_complete_after_the_lease_was_lost_is_stale(coordinator: Coordinator, stale: wire.Claim) -> None:
    assert [coordinator.finish(finish_of(stale))[0].status for _ in range(2)] == [409, 409]


def test_one_batch_carries_live_and_stale_and_repeated_items(
    coordinator: Coordinator, worker_id: UUID, stale: wire.Claim
) -> None:
    live, done = claimed_run(coordinator, worker_id), claimed_run(coordinator, worker_id)
    coordinator.finish(finish_of(done))

    results = coordinator.finish(
        finish_of(stale), finish_of(live), finish_of(done), finish_of(stale, "failed"), finish_of(live)
    )

    assert [result.status for result in results] == [409, 200, 200, 409, 200]


def test_repeated_checkpoint_gets_its_index_and_other_data_conflicts(
    coordinator: Coordinator, claim: wire.Claim
) -> None:
    first, second = checkpoint_of(claim, "one"), checkpoint_of(claim, "two")

    saved = coordinator.save(first) + coordinator.save(second) + coordinator.save(first)
    (conflict,) = coordinator.save(checkpoint_of(claim, "one", b'{"a":2}'))

    assert [(result.status, result.index) for result in saved] == [(200, 0), (200, 1), (200, 0)]
    assert (conflict.status, conflict.code) == (409, "conflict")
    assert json.loads(Checkpoint.objects.get(run_id=claim.run_id, key="one").data) == {"a": 1}


def test_one_key_twice_in_a_batch_is_saved_once(coordinator: Coordinator, claim: wire.Claim) -> None:
    same, other = checkpoint_of(claim), checkpoint_of(claim, data=b'{"a":2}')

    results = coordinator.save(same, checkpoint_of(claim), other)

    assert [result.status for result in results] == [200, 200, 409]
    assert Checkpoint.objects.filter(run_id=claim.run_id).count() == 1


def test_index_is_the_order_of_commits(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    coordinator.save(checkpoint_of(claim, "c"), checkpoint_of(claim, "a"))
    following = again(coordinator, worker_id, claim)
    coordinator.save(checkpoint_of(following, "b"))

    keys = Checkpoint.objects.filter(run_id=claim.run_id).order_by("index").values_list("key", "index", "attempt")

    assert list(keys) == [("c", 0, 1), ("a", 1, 1), ("b", 2, 2)]


def test_repeated_lines_are_stored_once(coordinator: Coordinator, claim: wire.Claim) -> None:
    batch = log_of(claim, "one", "two")

    results = coordinator.log(batch) + coordinator.log(batch)

    assert [result.status for result in results] == [200, 200]
    assert list(LogLine.objects.order_by("sequence").values_list("message", flat=True)) == ["one", "two"]
