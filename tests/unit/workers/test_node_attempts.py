"""How an attempt ends in the worker's words, and when its lease must be over."""

from typing import Any
from uuid import uuid4

import pytest

from apps.protocol import CONFIRM_SECONDS, LEASE_SECONDS, Claim, Finish, decode, encode
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.hosts.ends import ProcessEnd

FAILED = {"error": {"type": "CardDeclined", "message": "no", "stack": "s"}, "is_abort": False}


def attempt(**fields: Any) -> Attempt:
    made = Attempt(Claim(uuid4(), "run_1", 1, b"token", "t", uuid4(), b"{}", 3))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("fields", "end", "outcome", "error_type"),
    [
        ({"output": b"1"}, ProcessEnd(exit_code=0), "completed", None),
        ({"output": b"1"}, ProcessEnd(signal=9), "completed", None),
        ({"output": b"1", "stop_reason": "timed_out"}, ProcessEnd(signal=9), "completed", None),
        ({"failure": FAILED}, ProcessEnd(exit_code=1), "failed", "CardDeclined"),
        ({"failure": FAILED, "stop_reason": "canceled"}, ProcessEnd(exit_code=1), "failed", "CardDeclined"),
        ({"failure": {**FAILED, "stop_reason": "canceled"}, "stop_reason": "canceled"}, ProcessEnd(), "canceled", None),
        ({"stop_reason": "canceled"}, ProcessEnd(signal=9), "canceled", None),
        ({"stop_reason": "timed_out"}, ProcessEnd(signal=9), "timed_out", "RunTimedOut"),
        ({"stop_reason": "interrupted"}, ProcessEnd(signal=15), "released", None),
        ({}, ProcessEnd(signal=9), "crashed", "ProcessDied"),
        ({}, ProcessEnd(exit_code=137), "crashed", "ProcessDied"),
        ({}, ProcessEnd(exit_code=0), "crashed", "ProcessDied"),
        ({}, ProcessEnd(), "crashed", "ProcessDied"),
        ({}, ProcessEnd(signal=9, is_out_of_memory=True), "out_of_memory", "OutOfMemory"),
        ({"stop_reason": "timed_out"}, ProcessEnd(signal=9, is_out_of_memory=True), "timed_out", "RunTimedOut"),
    ],
)
def test_verdict(fields: dict[str, Any], end: ProcessEnd, outcome: str, error_type: str | None) -> None:
    finish = attempt(**fields).finish(end)

    assert finish.outcome == outcome
    assert (finish.error or {}).get("type") == error_type
    assert finish.token == b"token"


def test_signal_and_exit_code_are_told_apart() -> None:
    assert attempt().finish(ProcessEnd(signal=9)).exit_code == -9
    assert attempt().finish(ProcessEnd(exit_code=137)).exit_code == 137


def test_death_is_told_in_words() -> None:
    messages = [
        (attempt().finish(end).error or {})["message"]
        for end in (ProcessEnd(signal=9), ProcessEnd(exit_code=3), ProcessEnd(), ProcessEnd(note="The agent is gone."))
    ]

    assert "signal 9" in messages[0]
    assert "code 3" in messages[1]
    assert "gone" in messages[2]
    assert messages[3] == "The agent is gone."


def test_error_of_a_task_can_always_be_sent() -> None:
    error = {"type": "E", "message": "\ud800\x00", "stack": "x\udfff"}

    finish = attempt(failure={"error": error}).finish(ProcessEnd(exit_code=1))

    assert decode(encode(finish), Finish).error == {"type": "E", "message": "?\N{REPLACEMENT CHARACTER}", "stack": "x?"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [(5, 5.0), (0.5, 0.5), (-1, None), ("5", None), (float("inf"), None), (10**400, None), (None, None)],
)
def test_retry_after_is_a_number_of_seconds(given: Any, kept: float | None) -> None:
    finish = attempt(failure={**FAILED, "retry_after_seconds": given}).finish(ProcessEnd(exit_code=1))

    assert finish.retry_after_seconds == kept


def test_worker_kills_before_the_lease_can_have_ended() -> None:
    unconfirmed, renewed = attempt(received_at=100.0), attempt(received_at=100.0, renewed_at=200.0)

    assert 100.0 < unconfirmed.lease_deadline < 100.0 + CONFIRM_SECONDS
    assert 200.0 < renewed.lease_deadline < 200.0 + LEASE_SECONDS
