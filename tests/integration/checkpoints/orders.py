"""A task with three checkpoints and a step, in one deployment or several, and runs of it for the tests of replay."""

from collections.abc import Sequence
from typing import Any

import pytest

from apps.checkpoints.errors import ReplayRefused
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.plan import ReplayRequest
from apps.runs.models import Deployment, Run, Task
from apps.runs.states import Outcome
from tests.factories import make_attempt, make_checkpoint, make_deployment, make_run, make_task

EXACT = '{ "z":1e16,"a":-0.0, "price":10.10,"big":1180591620717411303424}'
TASK = "process-order"


def point(
    key: str, names: Sequence[str] = (), *, data_keys: Sequence[str] | None = None, needs: Sequence[str] = ()
) -> dict[str, Any]:
    """A resume point as a deployment stores it."""
    keys = names if data_keys is None else data_keys
    return {"key": key, "line": 1, "names": list(names), "data_keys": list(keys), "needs": list(needs)}


POINTS = (
    point("order-fetched", ["order"], data_keys=["order", "note"], needs=["order"]),
    point("payment-complete", ["payment"], needs=["order", "payment"]),
    point("shipped", needs=["payment"]),
)
SEGMENTS = ("s0", "s1", "s2", "s3")


def deploy(
    points: Sequence[dict[str, Any]] = POINTS, segments: Sequence[str] = SEGMENTS, **overrides: Any
) -> Deployment:
    """The next deployment of the orders, with these points."""
    deployment = make_deployment()
    make_task(TASK, deployment=deployment, resume_points=points, segments=segments, **overrides)
    return deployment


def original_run(**overrides: Any) -> Run:
    """A dead letter of the first deployment: two checkpoints, a step between them, and a third checkpoint that holds
    nothing."""
    if not Task.objects.filter(id=TASK).exists():
        deploy()
    fields: dict[str, Any] = {
        "state": "dead_letter", "payload": '{"order_id":"A1", "total":10.10}', "queue": "fast", "priority": 7,
        "concurrency_key": "c", "max_attempts": 9, "error": {"type": "E", "message": "", "stack": "", "reason": "used"},
    }  # fmt: skip
    run = make_run(Task.objects.get(id=TASK), **{**fields, **overrides})
    make_attempt(run, outcome=Outcome.FAILED)
    make_checkpoint(run, "order-fetched", data=f'{{"order":{EXACT},"note":"x"}}', binds=["order"])
    make_checkpoint(run, "page-1", data=EXACT, kind="step", duration_seconds=0.25)
    make_checkpoint(run, "payment-complete", data='{"payment":{"id":1}}', binds=["payment"], carried='{"items":[1.0]}')
    make_checkpoint(run, "shipped", data="{}")
    return run


def order_with(**changes: Any) -> dict[str, Any]:
    """The data of `order-fetched` as a person edits it: the stored one with changes in `order`."""
    stored = {"z": 1e16, "a": -0.0, "price": 10.10, "big": 2**70}
    return {"order": {**stored, **changes}, "note": "x"}


def again(run: Run, key: str | None = None, **fields: Any) -> Run:
    """A replay of the run from that key."""
    return replay(ReplayRequest(run_id=run.id, from_checkpoint=key, **fields))


def refused(run: Run, key: str | None = None, **fields: Any) -> dict[str, str]:
    """The paths with their reasons; nothing has been written."""
    before = Run.objects.count()
    with pytest.raises(ReplayRefused) as caught:
        again(run, key, **fields)
    assert Run.objects.count() == before
    assert all(f"{error.path}: {error.message}" in caught.value.detail for error in caught.value.errors[:3])
    return {error.path: error.message for error in caught.value.errors}
