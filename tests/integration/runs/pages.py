"""What the tests of the runs' pages share."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.runs.models import Run
from tests.factories import (
    make_attempt,
    make_checkpoint,
    make_log_line,
    make_run,
    make_worker,
)

HTMX = {"HX-Request": "true"}


def busy_run(**overrides: Any) -> Run:
    """A run with two attempts, checkpoints and lines."""
    run = make_run(state="completed", **overrides)
    worker = make_worker()
    error = {"type": "PaymentDeclined", "message": "declined", "stack": "Traceback"}
    make_attempt(run, outcome="failed", worker_id=worker.id, error=error)
    make_attempt(run, outcome="completed", worker_id=worker.id, resumed_from="order-fetched")
    make_checkpoint(run, "order-fetched", attempt=1)
    make_checkpoint(run, "payment-complete", attempt=2)
    make_log_line(run, "charging")
    return run


def query_count(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def run_of(number: int) -> UUID:
    """Ids in a known order."""
    return UUID(int=(0x7 << 76) | (0b10 << 62) | (number << 80))
