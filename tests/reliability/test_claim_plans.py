"""Plans of the statements that run in loops or per run: by their indexes, and no more rows than they have to read.

One pending run in a hundred can be claimed; the rest is paused, full, cooling or retired. Every statement is executed
with a generic and a custom plan, before the tables were ever analyzed and after; on the server that
`TRIGGER_TEST_POSTGRES` chooses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from psycopg.types.json import Json

from apps.checkpoints.store import SAVE_CHECKPOINTS
from apps.queues.admission import QUEUE_DEPTHS
from apps.queues.claim import claimer as claims
from apps.queues.claim.lanes import START
from apps.runs import lifecycle
from apps.runs.models import Run, Task
from apps.runs.retry import COOLING_FROM, COOLING_LONGEST_SECONDS, COOLING_PROBE_SECONDS, COOLING_RUNS_KEPT
from apps.storage.statements import Statement
from apps.workers import leases
from tests.coordinator_harness import connection_url
from tests.reliability import plan_site as site
from tests.reliability.plan_reading import COORDINATOR_SETTINGS, MODES, execute

BATCH = 500
"""As many items as a batch of writes may have, while as many runs are running."""

SPARE_ROWS = 80
WORK_PER_ROW = 60
"""Rows through all nodes of a plan, per row that has to be read; a join of all with all needs hundreds."""


@dataclass(frozen=True)
class Case:
    """`row_count`: how many runs the statement is about, so how many it may read three times."""

    statement: Statement
    parameters: dict[str, Any]
    row_count: int
    indexes: frozenset[str]
    settings: tuple[str, ...] = COORDINATOR_SETTINGS


def lanes_of(names: list[tuple[str, str, str]]) -> dict[str, Any]:
    queues, tasks, keys = (list(column) for column in zip(*names, strict=True))
    return {"queues": queues, "tasks": tasks, "keys": keys}


FREE_LANES = [("free", "free", f"k{n}") for n in range(site.KEY_COUNT)]
ALL_LANES = [*FREE_LANES, ("full", "full", "K")]


def find_lanes() -> Case:
    parameters = {
        "from_queue": "", "from_task": "", "pair_limit": claims.PAIR_LIMIT, "lane_limit": 500, "from_queues": [],
        "from_tasks": [], "from_keys": [],
    }  # fmt: skip
    return Case(claims.FIND_LANES, parameters, len(ALL_LANES) + 5, frozenset({"run_claim_idx"}))


def lane_terms() -> Case:
    parameters = {**lanes_of(ALL_LANES), "cooling_from": COOLING_FROM, "poll_id": uuid4()}
    return Case(claims.LANE_TERMS, parameters, site.RUNNING_COUNT, frozenset({"run_of_worker_idx"}))


def claim_runs() -> Case:
    take = 5
    parameters = {
        **lanes_of(FREE_LANES), "groups": list(range(1, len(FREE_LANES) + 1)), "takes": [take] * len(FREE_LANES),
        "are_squeezed": [False] * len(FREE_LANES),
        "after_turned": [START.turned_priority] * len(FREE_LANES), "after_ids": [START.run_id] * len(FREE_LANES),
        "is_retired": [False] * len(FREE_LANES), "group_takes": [take] * len(FREE_LANES), "worker_id": uuid4(),
        "deployment_ids": [Task.objects.get(id="free").deployment_id] * len(FREE_LANES),
        "poll_id": uuid4(), "confirm_seconds": 10, "now": datetime.now(UTC),
    }  # fmt: skip
    return Case(claims.CLAIM_RUNS, parameters, take * len(FREE_LANES), frozenset({"run_claim_idx", "runs_run_pkey"}))


def repeat_claims() -> Case:
    (run,) = site.some_running(1)
    worker_id = Run.objects.values_list("worker_id", flat=True).get(id=run.run_id)
    parameters = {"worker_id": worker_id, "poll_id": run.poll_id, "confirm_seconds": 10}
    return Case(claims.REPEAT_CLAIMS, parameters, 1, frozenset({"attempt_of_poll_idx", "runs_run_pkey"}))


def promote_due() -> Case:
    return Case(claims.PROMOTE_DUE, {"limit": 1000}, site.DUE_COUNT + 30, frozenset({"run_promote_idx"}))


def next_due() -> Case:
    return Case(claims.NEXT_DUE, {}, 1, frozenset({"run_promote_idx"}))


def charge_rates() -> Case:
    parameters = {"scopes": ["key"] * 20, "names": ["free"] * 20, "keys": [key for _, _, key in FREE_LANES]}
    return Case(claims.CHARGE_RATES, {**parameters, "seconds": [0.01] * 20, "now": datetime.now(UTC)}, 0, frozenset())


def start_probes() -> Case:
    parameters = {
        "tasks": ["cooling"], "run_ids": [uuid4()], "cooling_from": COOLING_FROM,
        "longest_seconds": COOLING_LONGEST_SECONDS, "probe_seconds": COOLING_PROBE_SECONDS,
    }  # fmt: skip
    return Case(claims.START_PROBES, parameters, 0, frozenset())


def written(**more: Any) -> dict[str, Any]:
    """The parameters of a batch of writes about running runs."""
    running = site.some_running(BATCH)
    return {"run_ids": [r.run_id for r in running], "tokens": [r.token for r in running], **more}


def start_attempts() -> Case:
    parameters = written(
        containers=["box"] * BATCH, start_kinds=["cold"] * BATCH, resumed_froms=[None] * BATCH,
        running_seconds=[0.1] * BATCH,
    )  # fmt: skip
    return Case(lifecycle.START_ATTEMPTS, _cut(parameters), BATCH, frozenset({"runs_run_pkey"}))


def complete_attempts() -> Case:
    parameters = written(
        containers=["box"] * BATCH, start_kinds=["cold"] * BATCH, resumed_froms=[None] * BATCH,
        running_seconds=[0.1] * BATCH, outputs=["1"] * BATCH, peak_memory_bytes=[None] * BATCH,
    )  # fmt: skip
    return Case(lifecycle.COMPLETE_ATTEMPTS, _cut(parameters), BATCH, frozenset({"runs_run_pkey"}))


def save_checkpoints() -> Case:
    parameters = written(
        keys=["new"] * BATCH, kinds=["step"] * BATCH, datas=["1"] * BATCH, carrieds=[None] * BATCH,
        binds=["[]"] * BATCH, hashes=[b"h" * 32] * BATCH, sizes=[1] * BATCH, codecs=[1] * BATCH,
        durations=[0.1] * BATCH,
    )  # fmt: skip
    parameters = {**_cut(parameters), "count_limit": 10_000, "bytes_limit": 256_000_000}
    return Case(SAVE_CHECKPOINTS, parameters, BATCH, frozenset({"runs_run_pkey"}))


def renew_leases() -> Case:
    parameters = written(
        worker_id=Run.objects.filter(task_id="past", state="running").values_list("worker_id", flat=True)[0],
        lease_seconds=60,
    )
    return Case(leases.RENEW_LEASES, parameters, BATCH, frozenset({"runs_run_pkey"}))


def expired_leases() -> Case:
    parameters = {
        "limit": 100, "after": UUID(int=0), "suspect_seconds": 5, "grace_seconds": 60, "silence_seconds": 15,
        "absent_seconds": 25,
    }  # fmt: skip
    return Case(leases.EXPIRED_LEASES, parameters, site.RUNNING_COUNT, frozenset({"run_of_worker_idx"}), ())


def lock_attempts() -> Case:
    parameters = _cut(written(are_failures=[True] * BATCH))
    return Case(lifecycle.LOCK_ATTEMPTS, parameters, BATCH, frozenset({"runs_run_pkey"}), ())


def fail_attempts() -> Case:
    rows = [
        {
            "run_id": str(run.run_id), "token": run.token.hex(), "outcome": "failed", "state": "retrying",
            "delay_seconds": 5.0, "error": {"type": "E"}, "attempt_error": {"type": "E"}, "running_seconds": 1.0,
        }
        for run in site.some_running(BATCH)
    ]  # fmt: skip
    return Case(lifecycle.FAIL_ATTEMPTS, {"rows": Json(rows)}, BATCH, frozenset({"runs_run_pkey"}), ())


def note_failures() -> Case:
    running = site.some_running(BATCH)
    parameters = {
        "task_ids": ["past"] * len(running), "run_ids": [run.run_id for run in running], "cooling_from": COOLING_FROM,
        "runs_kept": COOLING_RUNS_KEPT, "longest_seconds": COOLING_LONGEST_SECONDS,
    }  # fmt: skip
    return Case(lifecycle.NOTE_FAILURES, parameters, 0, frozenset(), ())


def expire_runs() -> Case:
    return Case(lifecycle.EXPIRE_RUNS, {"limit": 1000}, site.LATE_COUNT + 60, frozenset({"run_expiry_idx"}), ())


def queue_depths() -> Case:
    """Counting goes no further than the limit."""
    parameters = {"queues": ["paused"], "limits": [100]}
    return Case(QUEUE_DEPTHS, parameters, 100, frozenset({"run_claim_idx"}), ())


def _cut(parameters: dict[str, Any]) -> dict[str, Any]:
    """All lists as long as there are running runs."""
    length = len(parameters["run_ids"])
    return {name: value[:length] for name, value in parameters.items()}


CASES = [
    find_lanes, lane_terms, claim_runs, repeat_claims, promote_due, next_due, charge_rates, start_probes,
    start_attempts, complete_attempts, save_checkpoints, renew_leases, expired_leases, lock_attempts, fail_attempts,
    note_failures, expire_runs, queue_depths,
]  # fmt: skip


@pytest.fixture(scope="module", params=["never analyzed", "analyzed"])
def db(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The address of a database that is filled once; the tests take back what they do."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for table in site.TABLES:
            cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        try:
            site.fill()
            if request.param == "analyzed":
                site.analyze()
            yield connection_url()
        finally:
            for table in site.TABLES:
                cursor.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
            cursor.execute(f"TRUNCATE {', '.join(site.TABLES)}, runs_deployment CASCADE")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make_case", CASES, ids=lambda make_case: make_case.__name__)
def test_plan_reads_what_it_has_to(db: str, make_case: Callable[[], Case], mode: str) -> None:
    case = make_case()

    done = execute(db, case.statement, case.parameters, mode=mode, settings=case.settings)

    read = done.read_count("runs_run")
    print(
        f"\n{case.statement.name}, {mode}: {read:,} runs read for {case.row_count:,}, "
        f"{done.work_count:,} rows through all nodes, by {', '.join(sorted(done.indexes))}"
    )
    assert not done.is_scanned_whole("runs_run")
    assert case.indexes <= done.indexes
    assert read <= 3 * case.row_count + SPARE_ROWS
    assert done.fetched_count + done.scanned_count <= 3 * case.row_count + SPARE_ROWS
    assert done.work_count <= WORK_PER_ROW * (case.row_count + SPARE_ROWS)
