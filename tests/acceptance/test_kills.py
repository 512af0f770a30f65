"""What a crash costs: real processes are killed in the middle, and a ledger outside the database tells what ran."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from trigger_sdk.client import Run

from tests.acceptance.installation import Installation, installation, until
from tests.databases import database

TASKS = Path(__file__).parent / "kill_tasks"


@dataclass(frozen=True)
class Entry:
    """What a task noted: the stage, the attempt, its process and the agent above it."""

    what: str
    attempt: int
    pid: int
    agent: int


class Ledger:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger"
        self.gate = folder / "gate"
        self.gate.touch()

    @property
    def payload(self) -> dict[str, str]:
        return {"ledger": str(self.path), "gate": str(self.gate)}

    def entries(self) -> list[Entry]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [Entry(what, *map(int, numbers)) for what, *numbers in (line.split() for line in lines)]

    def stages(self) -> list[tuple[str, int]]:
        return [(entry.what, entry.attempt) for entry in self.entries()]

    def wait_for(self, what: str, attempt: int = 1) -> Entry:
        return until(lambda: next((e for e in self.entries() if (e.what, e.attempt) == (what, attempt)), None), what)

    def open_gate(self) -> None:
        self.gate.unlink()


@pytest.fixture(scope="module")
def shared_site(database_server: str) -> Iterator[Installation]:
    with database() as url, installation(url) as site:
        site.manage("deploy", str(TASKS))
        yield site


@pytest.fixture
def site(shared_site: Installation) -> Iterator[Installation]:
    """Each test has workers of its own, and leaves no run that those of another could take."""
    yield shared_site
    shared_site.stop_workers()
    assert shared_site.query("SELECT id FROM runs_run WHERE finished_at IS NULL") == []


@pytest.fixture
def worker(site: Installation) -> subprocess.Popen[bytes]:
    return site.start_worker()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def outcomes(run: Run) -> list[str]:
    return [attempt["outcome"] for attempt in run.attempts()]


def wait_for_told_start(run: Run) -> None:
    """From then on the attempt counts as begun: lost before, it would be given back as `released`."""
    until(lambda: run.attempts()[0]["started_at"], "the start is told")


def assert_went_on_after_second(run: Run, ledger: Ledger, outcome: str) -> None:
    """The run completed, restored what it had saved, and ran nothing before its last checkpoint again."""
    run.wait(60)
    assert run.state == "completed", run.data
    assert run.output == {"first": [1, 2, 3], "second": 6}
    assert ledger.stages() == [("first", 1), ("second", 1), ("third", 1), ("third", 2), ("end", 2)]
    assert outcomes(run) == [outcome, "completed"]
    assert run.attempts()[1]["resumed_from"] == "second-done"


def test_exception_repeats_nothing_before_the_last_checkpoint(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    ledger.open_gate()

    run = site.client.trigger("three-stages", {**ledger.payload, "fail_once": True})

    assert_went_on_after_second(run, ledger, "failed")


def test_killed_process_of_the_task_goes_on_from_its_checkpoint(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    entry = ledger.wait_for("third")

    os.kill(entry.pid, signal.SIGKILL)
    ledger.open_gate()

    assert_went_on_after_second(run, ledger, "crashed")


def test_killed_agent_takes_its_task_along_and_the_run_goes_on(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    entry = ledger.wait_for("third")

    os.kill(entry.agent, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(entry.pid), "the task's process ends with its agent")
    ledger.open_gate()

    assert_went_on_after_second(run, ledger, "crashed")


def test_killed_worker_loses_nothing_and_leaves_no_process(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    entry = ledger.wait_for("third")
    wait_for_told_start(run)

    worker.kill()
    worker.wait()
    until(lambda: not psutil.pid_exists(entry.pid), "the agent ends the task of a dead worker")
    site.start_worker()
    ledger.open_gate()

    assert_went_on_after_second(run, ledger, "lost")


def test_killed_coordinator_interrupts_no_task(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    ledger.wait_for("third")

    site.coordinator_process.kill()
    site.coordinator_process.wait()
    ledger.open_gate()
    ledger.wait_for("end")
    site.start_coordinator()

    assert run.wait(60).state == "completed"
    assert ledger.stages() == [("first", 1), ("second", 1), ("third", 1), ("end", 1)]


def test_attempt_whose_lease_was_given_away_is_killed(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    zombie = ledger.wait_for("third")
    wait_for_told_start(run)

    site.query("UPDATE runs_run SET lease_end = now() - interval '1 second' WHERE state = 'running'")
    ledger.wait_for("third", attempt=2)
    until(lambda: not psutil.pid_exists(zombie.pid), "the stale attempt's process is killed")
    ledger.open_gate()

    assert_went_on_after_second(run, ledger, "lost")


def test_cancel_of_a_running_run_lets_the_task_clean_up(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("holds", ledger.payload)
    ledger.wait_for("begin")

    run.cancel()

    assert run.wait(60).state == "canceled"
    assert ledger.stages() == [("begin", 1), ("clean-up", 1)]
    assert outcomes(run) == ["canceled"]


def test_cancel_of_a_pending_run_never_starts_it(site: Installation, ledger: Ledger) -> None:
    run = site.client.trigger("holds", ledger.payload)

    run.cancel()
    site.start_worker()
    ledger.open_gate()
    other = site.client.trigger("holds", ledger.payload).wait(60)

    assert (run.refresh().state, other.state) == ("canceled", "completed")
    assert run.attempts() == []


def test_attempt_beyond_its_duration_is_timed_out(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("too-long", ledger.payload).wait(60)

    assert run.state == "dead_letter"
    assert outcomes(run) == ["timed_out"]
    assert run.error is not None
    assert run.error["type"] == "RunTimedOut"


def test_thread_beyond_the_duration_of_a_run_that_has_returned_is_cut_off_and_named(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("goes-on", ledger.payload).wait(60)

    assert (run.state, run.output) == ("completed", "returned")
    assert outcomes(run) == ["completed"]
    lines = [line["message"] for line in run.logs()]
    assert lines == ["Cut off with the end of the run: the thread writer. Wait for this work in the task."]


def test_run_that_has_returned_is_completed_even_if_its_process_is_killed(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("cleans-up", ledger.payload)
    entry = ledger.wait_for("clean-up")

    os.kill(entry.pid, signal.SIGKILL)
    run.wait(60)

    assert (run.state, run.output) == ("completed", "returned")
    assert ledger.stages() == [("begin", 1), ("clean-up", 1)]
    assert outcomes(run) == ["completed"]


def test_stopping_worker_gives_its_run_back_without_burning_an_attempt(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    run = site.client.trigger("three-stages", ledger.payload)
    ledger.wait_for("third")

    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    site.start_worker()
    ledger.open_gate()

    assert_went_on_after_second(run, ledger, "released")


def test_output_that_cannot_be_stored_fails_the_attempt_and_no_other(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    ledger.open_gate()
    neighbours = [site.client.trigger("holds", ledger.payload) for _ in range(5)]

    run = site.client.trigger("garbles").wait(60)

    assert (run.state, outcomes(run)) == ("dead_letter", ["failed"])
    assert run.error is not None
    assert run.error["type"] == "OutputRefused"
    assert [neighbour.wait(60).state for neighbour in neighbours] == ["completed"] * 5


def test_steps_whose_results_are_many_and_large_run_once(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    """Three megabytes of them: the later ones are not sent along but asked for."""
    count = 50

    run = site.client.trigger("many-pages", {**ledger.payload, "count": count}).wait(60)

    assert outcomes(run) == ["crashed", "completed"]
    assert run.output == [hashlib.sha256((str(n) * 60_000).encode()).hexdigest() for n in range(count)]
    first, second = ([what for what, attempt in ledger.stages() if attempt == number] for number in (1, 2))
    assert first == [f"page-{n}" for n in range(count - 2)]
    assert second == [f"page-{n}" for n in (count - 2, count - 1)]
    assert run.attempts()[1]["resumed_from"] is None


def test_steps_of_a_gather_that_were_acknowledged_run_once(
    site: Installation, worker: subprocess.Popen[bytes], ledger: Ledger
) -> None:
    count = 40
    run = site.client.trigger("gathered-pages", {**ledger.payload, "count": count})
    until(lambda: len(run.checkpoints()) == count - 1, "all but the one that waits are stored")

    ledger.open_gate()
    run.wait(60)

    assert outcomes(run) == ["crashed", "completed"]
    assert run.output == [{"page": number} for number in range(count)]
    assert [what for what, attempt in ledger.stages() if attempt == 2] == [f"page-{count - 1}"]


def test_run_that_kills_its_worker_at_once_is_a_dead_letter_after_three_kills(
    site: Installation, ledger: Ledger
) -> None:
    """Its claim was never confirmed: it begins and kills within milliseconds."""
    run = site.client.trigger("kills-its-worker", ledger.payload)
    for number in range(1, 4):
        worker = site.start_worker()
        until(lambda worker=worker: worker.poll() is not None, f"the death of worker {number}")  # type: ignore[misc]
        until(lambda number=number: len(outcomes(run)) == number and all(outcomes(run)), "the lease ends")  # type: ignore[misc]

    assert site.client.run(run.id).state == "dead_letter"
    assert outcomes(run) == ["lost"] * 3
    assert ledger.stages() == [("begin", 1), ("begin", 2), ("begin", 3)]
