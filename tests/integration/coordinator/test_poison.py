"""One bad value in a batch fails alone; what lies beside it is saved."""

import json
from uuid import UUID

import pytest

from apps import protocol as wire
from apps.checkpoints.models import Checkpoint
from apps.runs.models import LogLine
from tests.coordinator_harness import Coordinator, checkpoint_of, claimed_run, finish_of, log_of, run_of, start_of

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture
def claims(coordinator: Coordinator, worker_id: UUID) -> list[wire.Claim]:
    return [claimed_run(coordinator, worker_id) for _ in range(3)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"a":"\x00"}', id="NUL byte"),
        pytest.param(rb'{"a":"\u0000"}', id="NUL escape"),
        pytest.param(b'{"a":"\xff\xfe"}', id="invalid UTF-8"),
        pytest.param(b'{"a":', id="cut JSON"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(DEEP, id="too deep"),
    ],
)
def test_poison_checkpoint_fails_alone(coordinator: Coordinator, claims: list[wire.Claim], data: bytes) -> None:
    before, poisoned, after = claims

    results = coordinator.save(checkpoint_of(before), checkpoint_of(poisoned, data=data), checkpoint_of(after))

    assert [result.status for result in results] == [200, 422, 200]
    assert set(Checkpoint.objects.values_list("run_id", flat=True)) == {before.run_id, after.run_id}
    assert coordinator.save(checkpoint_of(poisoned))[0].status == 200


@pytest.mark.parametrize(("key", "status"), [("", 422), ("k" * 201, 422), ("a\x00b", 422), ("k" * 200, 200)], ids=repr)
def test_key_is_bounded(coordinator: Coordinator, claim: wire.Claim, key: str, status: int) -> None:
    assert coordinator.save(checkpoint_of(claim, key))[0].status == status


def test_checkpoint_of_more_than_three_megabytes_is_refused(coordinator: Coordinator, claims: list[wire.Claim]) -> None:
    largest, too_large = (b'{"a":"' + b"a" * size + b'"}' for size in (2_999_992, 2_999_993))

    results = coordinator.save(checkpoint_of(claims[0], data=largest), checkpoint_of(claims[1], data=too_large))

    assert [(result.status, result.code) for result in results] == [(200, ""), (413, "too_large")]


def test_data_comes_back_byte_for_byte(coordinator: Coordinator, claim: wire.Claim) -> None:
    data = '{"b": 1e16, "a": -0.0,"c":18446744073709551617, "ü":"\\ud83d\\ude00 \'$$; %s"}'.encode()

    coordinator.save(checkpoint_of(claim, data=data))

    assert coordinator.stored(claim.run_id, claim.token)[0].data == data


@pytest.mark.parametrize(
    "output",
    [b'"\xff"', b"{", b"", DEEP, b'"\x00"'],
    ids=["invalid UTF-8", "cut JSON", "nothing", "too deep", "NUL byte"],
)
def test_poison_output_fails_alone(coordinator: Coordinator, claims: list[wire.Claim], output: bytes) -> None:
    before, poisoned, after = claims
    expected = 200 if not output else 422  # an absent output is null

    results = coordinator.finish(finish_of(before), finish_of(poisoned, output=output), finish_of(after))

    assert [result.status for result in results] == [200, expected, 200]
    assert (run_of(before).state, run_of(after).state) == ("completed", "completed")


def test_poison_log_batch_fails_alone(coordinator: Coordinator, claims: list[wire.Claim]) -> None:
    before, poisoned, after = claims

    results = coordinator.log(log_of(before, "one"), log_of(poisoned, "bad", sequence=2**40), log_of(after, "two"))

    assert [result.status for result in results] == [200, 422, 200]
    assert set(LogLine.objects.values_list("message", flat=True)) == {"one", "two"}


def test_text_that_cannot_be_stored_is_made_safe(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.log(log_of(claim, "a\x00b"))
    error = {"type": "Odd\x00Error", "message": "x\x00y", "stack": "line\x00", "more": "dropped"}

    (result,) = coordinator.finish(finish_of(claim, "failed", error=error))

    assert result.status == 200
    assert LogLine.objects.get().message == "a\N{REPLACEMENT CHARACTER}b"
    assert run_of(claim).value.error == {
        "type": "Odd\N{REPLACEMENT CHARACTER}Error",
        "message": "x\N{REPLACEMENT CHARACTER}y",
        "stack": "line\N{REPLACEMENT CHARACTER}",
    }


def test_lone_surrogates_are_made_safe() -> None:
    from apps.runs.logs import storable_error

    safe = storable_error({"type": "E", "message": "a\ud800b", "stack": "\udfff"})

    assert json.dumps(safe).encode().decode() == '{"type": "E", "message": "a?b", "stack": "?"}'


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "vanished"},
        {"outcome": ""},
        {"outcome": "failed", "container": "a\x00b"},
        {"outcome": "failed", "resumed_from": "k" * 201},
        {"outcome": "failed", "exit_code": 2**20},
        {"outcome": "failed", "running_seconds": 1e300},
    ],
    ids=repr,
)
def test_poison_failure_fails_alone(
    coordinator: Coordinator, claims: list[wire.Claim], fields: dict[str, object]
) -> None:
    before, poisoned, after = claims
    outcome = str(fields.pop("outcome"))

    results = coordinator.finish(
        finish_of(before, "failed"),
        finish_of(poisoned, outcome, **fields),
        finish_of(after, "failed"),
    )

    assert [result.status for result in results] == [200, 422, 200]
    assert [run_of(claim).state for claim in claims] == ["retrying", "running", "retrying"]


def test_endless_retry_after_is_bounded(coordinator: Coordinator, claim: wire.Claim) -> None:
    (result,) = coordinator.finish(finish_of(claim, "failed", retry_after_seconds=1e300))

    assert (result.status, run_of(claim).state) == (200, "retrying")


def test_poison_start_fails_alone(coordinator: Coordinator, claims: list[wire.Claim]) -> None:
    before, poisoned, after = claims

    results = coordinator.starts(start_of(before), start_of(poisoned, resumed_from="a\x00b"), start_of(after))

    assert [result.status for result in results] == [200, 422, 200]
