"""Values and times of hostile tasks at the coordinator's door: refused with a reason, or kept in a safe form."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from apps import protocol as wire
from apps.checkpoints.models import Checkpoint
from apps.runs.models import LogLine
from tests.coordinator_harness import Coordinator, checkpoint_of, claimed_run, finish_of, run_of

LEVELS_64 = b"[" * 64 + b"]" * 64
LEVELS_65 = b"[" * 65 + b"]" * 65
REFUSED_VALUES = {
    "65 levels": LEVELS_65,
    "65 levels of objects": b'{"k":' * 65 + b"1" + b"}" * 65,
    "3,000 levels": b"[" * 3_000 + b"]" * 3_000,
    "NUL": b'{"a":"\\u0000"}',
    "a NUL byte": b'"\x00"',
    "NUL in a key": b'{"\\u0000":1}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "the halves turned round": b'"\\udc00\\ud800"',
    "a key twice": b'{"a":1,"a":2}',
    "a key twice, far inside": b'{"a":[{"b":{"c":1,"d":1e5,"c":1}}]}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "an integer of 4,301 digits": b"1" * 4_301,
    "NaN": b"NaN",
    "an infinity": b'{"a":Infinity}',
    "beyond every float": b"1e999",
    "no JSON": b"{'a': 1}",
    "half of it": b'{"a":[1',
    "two values": b"1 2",
    "blanks": b"  ",
    "no UTF-8": b'"\xff"',
    "surrogates as UTF-8": b'"\xed\xa0\x80"',
    "a byte order mark": b"\xef\xbb\xbf1",
}  # fmt: skip
STORED_VALUES = {
    "64 levels": LEVELS_64,
    "64 levels of objects": b'{"k":' * 64 + b"1" + b"}" * 64,
    "many brackets in a string": b'"' + b"[" * 100 + b'"',
    "many short lists": b"[" + b",".join([b"[]"] * 500) + b"]",
    "an integer of 4,300 digits": b"9" * 4_300,
    "numbers as they were written": b"[1e16,-0.0,1E5,1.10,123456789012345678901234567890]",
    "blanks around it": b' { "a" : [ 1 , 2 ] } ',
    "escapes": b'"\\ud83d\\ude00 \\\\ud800 \\\\u0000 \\/ \\u00e9"',
    "the same key in two objects": b'[{"a":1},{"a":2}]',
    "a large text": b'"' + b"x" * 2_999_990 + b'"',
}


@pytest.mark.parametrize("value", REFUSED_VALUES)
def test_output_that_cannot_be_stored_is_refused_and_changes_nothing(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, value: str
) -> None:
    neighbour = claimed_run(coordinator, worker_id)

    refused, done = coordinator.finish(finish_of(claim, output=REFUSED_VALUES[value]), finish_of(neighbour))

    assert (refused.status, refused.code, done.status) == (422, "invalid", 200)
    assert refused.message.startswith("The output ")
    assert run_of(claim).state == "running"


def test_output_beyond_the_limit_is_too_large(coordinator: Coordinator, claim: wire.Claim) -> None:
    (refused,) = coordinator.finish(finish_of(claim, output=b'"' + b"x" * 3_000_000 + b'"'))

    assert (refused.status, refused.code) == (413, "too_large")
    assert "3,000,000" in refused.message


@pytest.mark.parametrize("value", STORED_VALUES)
def test_other_output_is_stored_byte_for_byte(coordinator: Coordinator, claim: wire.Claim, value: str) -> None:
    (done,) = coordinator.finish(finish_of(claim, output=STORED_VALUES[value]))

    assert done.status == 200
    assert run_of(claim).value.output == STORED_VALUES[value].decode()


@pytest.mark.parametrize("value", REFUSED_VALUES)
def test_step_that_cannot_be_stored_is_refused(coordinator: Coordinator, claim: wire.Claim, value: str) -> None:
    (refused,) = coordinator.save(checkpoint_of(claim, "page-1", REFUSED_VALUES[value], kind="step"))

    assert (refused.status, refused.code) == (422, "invalid")
    assert "'page-1'" in refused.message
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize("value", STORED_VALUES)
def test_other_step_is_stored(coordinator: Coordinator, claim: wire.Claim, value: str) -> None:
    (saved,) = coordinator.save(checkpoint_of(claim, "page-1", STORED_VALUES[value], kind="step"))

    assert saved.status == 200
    assert Checkpoint.objects.get().data == STORED_VALUES[value].decode()


def test_attempt_whose_output_was_refused_ends_its_run_at_once(coordinator: Coordinator, claim: wire.Claim) -> None:
    error = {"type": "OutputRefused", "message": "The output cannot be stored", "stack": ""}

    (ended,) = coordinator.finish(finish_of(claim, outcome="failed", output=None, error=error, is_abort=True))

    assert ended.state == "dead_letter"
    assert run_of(claim).attempt_count == 1


@pytest.mark.parametrize(
    "at",
    [
        "infinity", "-infinity", "now", "", "2026-12-01", "20000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
        "2026-12-01T08:00:00-15:00", "2026-12-01T08:00:00Z BC", "4714-11-24T00:00:00Z BC", "9999-12-31T23:59:59Z",
        "2026-12-01T08:00:00", "1764576000", "2026-12-01T08:00:00Z'; DROP TABLE runs_run",
    ],
)  # fmt: skip
def test_line_with_a_bad_time_keeps_its_text_and_gets_the_time_of_its_receipt(
    coordinator: Coordinator, claim: wire.Claim, at: str
) -> None:
    lines = [wire.LogItem("info", "log", "bad", at, 1), wire.LogItem("info", "log", "good", "2026-11-01T00:00:00Z", 2)]
    earliest = datetime.now(UTC) - timedelta(minutes=1)

    (result,) = coordinator.log(wire.LogBatch(claim.run_id, claim.token, claim.attempt, lines))

    assert result.status == 200
    bad, good = LogLine.objects.order_by("sequence")
    assert (bad.message, good.message) == ("bad", "good")
    assert earliest < bad.logged_at < datetime.now(UTC) + timedelta(minutes=1)
    assert good.logged_at == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("fields", [*REFUSED_VALUES.values(), b'"' + b"x" * 3_000_000 + b'"'], ids=lambda raw: raw[:12])
def test_line_with_fields_that_cannot_be_stored_keeps_its_text(
    coordinator: Coordinator, claim: wire.Claim, fields: bytes
) -> None:
    lines = [wire.LogItem("info", "log", "a line", "2026-11-01T00:00:00Z", 1, fields)]

    (result,) = coordinator.log(wire.LogBatch(claim.run_id, claim.token, claim.attempt, lines))

    assert result.status == 200
    line = LogLine.objects.get()
    assert line.message == "a line"
    assert list(line.fields) == ["unreadable"]


@pytest.mark.parametrize("name", ["due_at", "expires_at"])
@pytest.mark.parametrize("time", ["infinity", "-infinity", "2200-01-01Z", "10000-01-01Z", "1999-12-31Z"])
def test_the_database_takes_no_time_beyond_the_bounds(claim: wire.Claim, name: str, time: str) -> None:
    with pytest.raises(Exception, match="run_times_are_stored_ones"), connection.cursor() as cursor:
        cursor.execute(f"UPDATE runs_run SET {name} = %s WHERE id = %s", [time, claim.run_id])


def test_lines_of_64_levels_are_stored(coordinator: Coordinator, claim: wire.Claim) -> None:
    lines = [wire.LogItem("info", "log", "a line", "2026-11-01T00:00:00Z", 1, LEVELS_64)]

    coordinator.log(wire.LogBatch(claim.run_id, claim.token, claim.attempt, lines))

    assert LogLine.objects.get().fields == json.loads(LEVELS_64)
