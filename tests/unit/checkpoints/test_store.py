"""The door for checkpoints before any database: what it costs, and what it lets through."""

import time
from uuid import uuid4

import pytest

from apps.checkpoints.errors import CheckpointRefused
from apps.checkpoints.store import DATA_MAX_BYTES, check
from apps.protocol import CheckpointItem

DEEP = b"[" * 65


def step(data: bytes) -> CheckpointItem:
    return CheckpointItem(uuid4(), b"", "page-1", data, [], None, kind="step")


@pytest.mark.parametrize(
    "string",
    [b'"' + b'\\"' * 1_400_000, b'"' + b'\\"' * 1_400_000 + b"\\", b'"' * 2_900_001, b'"' + b"\\" * 2_900_001],
    ids=["escaped quotes", "an escape at the end", "quotes", "backslashes"],
)
def test_a_string_that_never_ends_costs_linear_time(string: bytes) -> None:
    assert len(DEEP + string) < DATA_MAX_BYTES
    started = time.process_time()

    with pytest.raises(CheckpointRefused, match="nested deeper"):
        check(step(DEEP + string))

    # A quadratic scan of a tenth of it takes minutes, and the coordinator serves nobody meanwhile.
    assert time.process_time() - started < 5


@pytest.mark.parametrize("data", [b'"\\ud83d\\ude00"', b'"\\\\ud800"', b'"' + b"[" * 100 + b'"', b" [1]", b"null"])
def test_what_a_step_may_return_passes(data: bytes) -> None:
    check(step(data))
