from datetime import UTC, datetime
from typing import Any

from apps.runs.fleet import Fleet
from apps.runs.states import RunState
from apps.runs.waiting import Reason, waiting_reason

DUE = datetime(2026, 3, 1, tzinfo=UTC)


def reason(state: str, **overrides: Any) -> Reason | None:
    fields: dict[str, Any] = {"due_at": None, "attempt_count": 1, "max_attempts": 3, "is_cancel_requested": False}
    return waiting_reason(state, **{**fields, **overrides})


def test_retrying_run_names_cause_checkpoint_and_time() -> None:
    found = reason(RunState.RETRYING, due_at=DUE, last_error_type="PaymentDeclined", resume_key="order-fetched")

    assert found is not None
    assert "PaymentDeclined" in found.text
    assert "attempt 2 of 3 goes on after the checkpoint order-fetched" in found.text
    assert found.until == DUE


def test_pending_run_without_workers_says_how_to_start_one() -> None:
    found = reason(RunState.PENDING, fleet=Fleet(0, 0))

    assert found is not None
    assert found.is_alarming
    assert "runworker" in found.hint


def test_pending_run_behind_full_slots_says_so() -> None:
    found = reason(RunState.PENDING, fleet=Fleet(worker_count=2, slot_count=8), running_count=8)

    assert found is not None
    assert found.text.startswith("Waiting for a free slot: 2 workers with 8 slots")


def test_running_run_has_no_reason_until_it_is_asked_to_stop() -> None:
    assert reason(RunState.RUNNING) is None
    assert reason(RunState.RUNNING, is_cancel_requested=True) is not None


def test_final_run_has_no_reason() -> None:
    assert reason(RunState.COMPLETED) is None
