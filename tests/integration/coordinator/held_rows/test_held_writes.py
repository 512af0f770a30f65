"""Writes of a held run are answered 503 and written later; those beside it are written at once."""

from uuid import UUID

import pytest

from apps import protocol as wire
from apps.runs.lifecycle import trigger
from apps.runs.models import Attempt, TaskControl
from apps.storage.ids import uuid7
from tests.coordinator_harness import Coordinator, finish_of, log_of, run_of
from tests.factories import make_task
from tests.integration.coordinator.held_rows.held import OF_RUN, WRITES, holding, statuses


@pytest.mark.parametrize("held", OF_RUN)
@pytest.mark.parametrize("kind", WRITES)
def test_neighbours_of_a_held_run_are_written_at_once(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, kind: str, held: str
) -> None:
    with holding(committed, OF_RUN[held], run=claim.run_id):
        meanwhile = statuses(WRITES[kind](coordinator, claim, neighbour))
    afterwards = statuses(WRITES[kind](coordinator, claim, neighbour))

    assert meanwhile[1] == 200
    assert meanwhile[0] in (200, 503)
    assert afterwards == [200, 200]


@pytest.mark.parametrize("kind", ["start", "save", "complete", "fail"])
def test_held_run_is_busy_and_nothing_of_it_is_written(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, kind: str
) -> None:
    with holding(committed, OF_RUN["run"], run=claim.run_id):
        result, _ = WRITES[kind](coordinator, claim, neighbour)

        assert (result.status, result.code) == (503, "busy")
        assert run_of(claim).state == "running"
        assert Attempt.objects.get(run_id=claim.run_id).outcome == ""


def test_log_lines_do_not_wait_for_their_run(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    with holding(committed, OF_RUN["run"], run=claim.run_id):
        assert statuses(coordinator.log(log_of(claim))) == [200]


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_held_control_keeps_only_the_runs_of_its_task_waiting(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, outcome: str
) -> None:
    make_task("other")
    trigger("other")
    (other,) = coordinator.claim(worker_id, 1)
    TaskControl.objects.create(task_id="process-order", failing_runs=[uuid7()])

    with holding(committed, "SELECT 1 FROM runs_taskcontrol FOR UPDATE"):
        held, free = coordinator.finish(finish_of(claim, outcome), finish_of(other, outcome))

    assert (held.status, held.code, free.status) == (503, "busy", 200)
    assert coordinator.finish(finish_of(claim, outcome))[0].status == 200


def test_completions_of_tasks_that_do_not_fail_need_no_lock_on_the_controls(
    committed: str, coordinator: Coordinator, claim: wire.Claim
) -> None:
    """As while an index is built on their table."""
    with holding(committed, "LOCK TABLE runs_taskcontrol IN SHARE MODE"):
        assert statuses(coordinator.finish(finish_of(claim))) == [200]


@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("runs_run", "complete"),
        ("runs_run", "fail"),
        ("runs_attempt", "start"),
        ("runs_value", "complete"),
        ("runs_value", "fail"),
        ("checkpoints_checkpoint", "save"),
        ("runs_logline", "log"),
    ],
)
def test_held_table_is_busy_and_not_an_error(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, table: str, mode: str, kind: str
) -> None:
    with holding(committed, f"LOCK TABLE {table} IN {mode} MODE"):
        meanwhile = WRITES[kind](coordinator, claim, neighbour)
    afterwards = WRITES[kind](coordinator, claim, neighbour)

    assert [(result.status, result.code) for result in meanwhile] == [(503, "busy")] * 2
    assert statuses(afterwards) == [200, 200]
