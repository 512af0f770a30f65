"""One locked row stops one run, and no lock loses an attempt: real processes under load, beside sessions that hold rows
and tables. The long tier holds each kind for 80 s, the ordinary one all rows at once and two tables for some
seconds."""

import os
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.installation import until
from tests.reliability.lock_site import LASTING_COUNT, MODES, VICTIM_ROWS, LockSite, lock_site, tables

HELD_SECONDS = float(os.environ.get("TRIGGER_TEST_HELD_SECONDS", "80"))
SAMPLE_SECONDS = 14.0
"""Beyond the time in which a claim has to be confirmed, and some heartbeats' retries."""

KEPT_SHARE = 0.9
WHAT_CLAIMS_NEED = {
    "runs_run", "runs_attempt", "runs_value", "runs_task", "runs_taskversion", "runs_taskcontrol", "queues_queue",
    "queues_ratelimit", "runs_deployment", "runs_idempotencykey", "access_apikey", "workers_worker",
}  # fmt: skip
"""Tables without which no plain run is triggered, claimed or completed, where they cannot even be read; those of them
that each plain run writes cannot be done without in share mode either."""

WRITTEN_BY_ALL = {"runs_run", "runs_attempt", "runs_value", "workers_worker"}


@pytest.fixture
def site(new_database: str) -> Iterator[LockSite]:
    with lock_site(new_database) as site:
        yield site


def assert_undisturbed(site: LockSite) -> None:
    """All that ran goes on running as the attempt that it was."""
    assert site.living_attempts() == LASTING_COUNT + 1, site.site.logs()
    assert {outcome for outcome, _ in site.ends_of_attempts()} <= {"", "completed"}
    assert {number for _, number in site.ends_of_attempts()} == {1}


def assert_steps_go_on(site: LockSite) -> None:
    before = site.step_counts()
    until(
        lambda: all(count > before[run] for run, count in site.step_counts().items() if run in before),
        f"the next step of every run: {site.site.logs()}",
    )


def hold_rows(site: LockSite, texts: list[str], seconds: float) -> str:
    with site.holding(texts, seconds) as window:
        pass
    assert window.triggered > 0
    assert window.refused == 0
    assert window.share >= KEPT_SHARE, f"{window.completed} of {window.triggered}: {site.site.logs()}"
    assert_steps_go_on(site)
    assert_undisturbed(site)
    return f"{window.completed}/{window.triggered} plain runs meanwhile"


def hold_table(site: LockSite, table: str, mode: str, seconds: float) -> str:
    with site.holding([f"LOCK TABLE {table} IN {mode} MODE"], seconds) as window:
        pass
    is_needed = table in (WRITTEN_BY_ALL if mode == "SHARE" else WHAT_CLAIMS_NEED)
    if not is_needed:
        assert window.share >= KEPT_SHARE, f"{window.completed} of {window.triggered}: {site.site.logs()}"
    assert_steps_go_on(site)
    assert_undisturbed(site)
    return f"{window.completed}/{window.triggered} plain runs meanwhile, {window.refused} refused"


def test_rows_and_tables_that_are_held_for_a_while_lose_no_attempt(site: LockSite) -> None:
    hold_rows(site, [text for name, text in VICTIM_ROWS.items() if name != "shared run"], SAMPLE_SECONDS)
    hold_table(site, "runs_run", "ACCESS EXCLUSIVE", SAMPLE_SECONDS)
    site.end()
    assert {outcome for outcome, _ in site.ends_of_attempts()} == {"completed"}
    assert {number for _, number in site.ends_of_attempts()} == {1}


@pytest.mark.long
def test_each_kind_of_lock_stops_what_it_locks_and_nothing_else(site: LockSite) -> None:
    for name, text in VICTIM_ROWS.items():
        print(f"row {name}: {hold_rows(site, [text], HELD_SECONDS)}", flush=True)
    for table in tables():
        for mode in MODES:
            print(f"table {table} in {mode} mode: {hold_table(site, table, mode, HELD_SECONDS)}", flush=True)
            until(lambda: not site.site.query("SELECT id FROM runs_run WHERE state = 'pending'"), "what waited is done")
            time.sleep(1)
    site.end()
    assert {outcome for outcome, _ in site.ends_of_attempts()} == {"completed"}
