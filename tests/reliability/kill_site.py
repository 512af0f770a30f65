"""An installation for the kill matrix: its own durable database, a web process, and programs that die where armed.

One coordinator and several workers with one slot each, started by `kill_points`; who dies begins again by itself. The
database is restarted when it was stopped. Nothing here judges what came of a run (`kill_verdict`).
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from trigger_sdk.client.http_api import ApiError

from tests.acceptance.installation import ROOT, Installation, answers, until
from tests.reliability.kill_points import Fuse, read_fuses, write_fuses
from tests.reliability.kill_verdict import Ended, Evidence, Stored, read_ledger
from trigger_site.development.postgres import EmbeddedPostgres

TASKS = Path(__file__).parent / "kill_matrix_tasks"
TASK = "ten-checkpoints"
SEED = 7
FINAL = ("completed", "dead_letter", "canceled", "expired", "discarded")


class Program:
    """A program of `kill_points` with its folder of fuses, hits and lives."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self.arm([])

    def arm(self, fuses: Sequence[Fuse]) -> None:
        write_fuses(self.folder, list(fuses))

    @property
    def armed(self) -> list[Fuse]:
        return read_fuses(self.folder)

    @property
    def hit_count(self) -> int:
        return len(self.lines("hits"))

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def kill(self) -> None:
        """Ends its present life."""
        assert self.process is not None
        before = len(self.lines("lives"))
        for child in psutil.Process(self.process.pid).children():
            child.kill()
        until(lambda: len(self.lines("lives")) > before, f"the death of {self.name}")

    @contextmanager
    def traced(self) -> Iterator[Callable[[], list[tuple[str, str]]]]:
        """What the program passes meanwhile, as (when, point)."""
        path = self.folder / "trace"
        path.touch()
        try:
            yield lambda: [(when, point) for when, point in (line.split("\t") for line in self.lines("trace"))]
        finally:
            path.unlink()


@dataclass(frozen=True)
class Shot:
    """A run that was triggered, with the file that holds it at its last place."""

    run_id: str
    gate: Path

    def open_gate(self) -> None:
        self.gate.unlink(missing_ok=True)


class KillSite(Installation):
    def __init__(self, cluster: EmbeddedPostgres, folder: Path) -> None:
        super().__init__(cluster.url, folder)
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.coordinator = Program("coordinator", folder / "c")
        self.lanes: list[Program] = []
        self._environment |= {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk' / 'python'}",
            "KILL_LEDGER": str(self.ledger),
            "KILL_POSTGRES": str(cluster.data_dir),
        }

    def wait_for_coordinator(self) -> None:
        until(lambda: answers(f"http://127.0.0.1:{self.coordinator_port}/health"), f"coordinator: {self.logs()}")

    def begin(self, lane_count: int) -> None:
        self.manage("migrate", "--verbosity", "0")
        self._start_program(self.coordinator, "coordinator", str(self.coordinator_port))
        self.wait_for_coordinator()
        self.start_web()
        self.manage("deploy", str(TASKS))
        for number in range(lane_count):
            self.lanes.append(Program(f"worker {number}", self.folder / f"l{number}"))
            self._start_program(self.lanes[-1], "worker", TRIGGER_WORKER_DIR=str(self.folder / f"w{number}"))
        until(lambda: self.worker_count() == lane_count, f"workers: {self.logs()}")

    def _start_program(self, program: Program, kind: str, *arguments: str, **variables: str) -> None:
        with (self.folder / f"{program.folder.name}.log").open("wb") as log:
            program.process = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.kill_points", kind, str(program.folder), *arguments],
                cwd=ROOT, env=self._environment | variables, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(program.process)

    def shoot(self, *, kills: Sequence[str] = (), raises_at: str = "", is_gated: bool = False) -> Shot:
        """Triggers one run; asks again where the web process still has connections of a database that was stopped."""
        name = f"{time.monotonic_ns()}"
        gate = self.folder / f"gate-{name}"
        if is_gated:
            gate.touch()
        probe = {"ledger": str(self.ledger), "kills": list(kills), "raises_at": raises_at, "gate": str(gate)}
        payload = {"seed": SEED, "probe": probe}
        return Shot(until(lambda: self._trigger(payload), f"{TASK} is triggered"), gate)

    def _trigger(self, payload: dict[str, object]) -> str:
        try:
            return self.client.trigger(TASK, payload).id
        except ApiError as error:
            if error.status < 500:
                raise
            return ""

    def ask(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """The answer of a database that may just be coming back."""
        answer: list[list[tuple[object, ...]]] = []

        def is_answered() -> bool:
            try:
                answer.append(self.query(sql, *parameters))
            except psycopg.OperationalError:
                return False
            return True

        until(is_answered, f"an answer of the database: {sql}")
        return answer[0]

    def is_pending(self, shot: Shot) -> bool:
        return bool(self.ask("SELECT id FROM runs_run WHERE id = %s AND state = 'pending'", _uuid(shot.run_id)))

    def evidence(self, shot: Shot) -> Evidence:
        """Waits until the run has ended."""
        key = _uuid(shot.run_id)
        ended = "SELECT r.state, v.output::text FROM runs_run r JOIN runs_value v ON v.run_id = r.id WHERE r.id = %s"

        def final() -> list[tuple[object, ...]]:
            return [row for row in self.ask(ended, key) if row[0] in FINAL]

        ((state, output),) = until(final, f"the end of {shot.run_id} {self._story(shot)}")
        stored = self.ask(
            "SELECT key, kind, data::text, carried::text, attempt FROM checkpoints_checkpoint "
            "WHERE run_id = %s ORDER BY index", key,
        )  # fmt: skip
        attempts = self.ask(
            "SELECT number, outcome, resumed_from FROM runs_attempt WHERE run_id = %s ORDER BY number", key
        )
        return Evidence(
            run_id=shot.run_id,
            state=str(state),
            output=None if output is None else json.loads(str(output)),
            entries=read_ledger(self.ledger / shot.run_id),
            stored=[Stored(*row) for row in stored],  # type: ignore[arg-type]
            attempts=[Ended(*row) for row in attempts],  # type: ignore[arg-type]
        )

    def _story(self, shot: Shot) -> str:
        return "\n".join(f"{e.attempt} {e.place}" for e in read_ledger(self.ledger / shot.run_id)[-8:]) + self.logs()

    def chill(self) -> None:
        """Kills the idle workers, so that the next run of each finds neither deployment nor agent."""
        before = self.worker_count()
        for lane in self.lanes:
            lane.kill()
        until(lambda: self.worker_count() == before + len(self.lanes), f"the workers' next lives {self.logs()}")

    def settle(self) -> None:
        """Disarms everything and lets every run go to its end, whatever a test has left behind."""
        for program in (self.coordinator, *self.lanes):
            program.arm([])
        for gate in self.folder.glob("gate-*"):
            gate.unlink()
        unfinished = "SELECT id FROM runs_run WHERE state IN ('pending', 'running', 'retrying')"
        until(lambda: not self.ask(unfinished), f"the end of all runs {self.logs()}")

    def unplanned_deaths(self) -> list[str]:
        """Programs that ended otherwise than by their own SIGKILL."""
        codes = [(p.name, code) for p in (self.coordinator, *self.lanes) for code in p.lines("lives") if code != "-9"]
        return [f"{name}: {code}" for name, code in codes]


class Keeper:
    """Restarts a database that was stopped, in the one thread that the kernel takes for its parent."""

    def __init__(self, cluster: EmbeddedPostgres) -> None:
        self._cluster = cluster
        self._is_stopping = False
        self._is_up = threading.Event()
        self.start_count = 0
        self._thread = threading.Thread(target=self._keep, name="postgres-keeper")
        self._thread.start()
        assert self._is_up.wait(60), "the database does not start"

    def _keep(self) -> None:
        while not self._is_stopping:
            self._cluster.start()
            self.start_count += 1
            self._is_up.set()
            assert self._cluster.process is not None
            self._cluster.process.wait()

    def stop(self) -> None:
        self._is_stopping = True
        self._cluster.stop()
        self._thread.join()


@contextmanager
def kill_site(lane_count: int) -> Iterator[KillSite]:
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        root = Path(folder)
        root.chmod(0o711)  # the database runs as another user when we are root
        cluster = EmbeddedPostgres(root / "postgres", root / "s", is_durable=True)
        keeper = Keeper(cluster)
        site = KillSite(cluster, root)
        try:
            site.begin(lane_count)
            yield site
            assert not site.unplanned_deaths(), site.logs()
        finally:
            site.stop()
            keeper.stop()


def _uuid(public: str) -> str:
    from apps.storage.ids import parse_public_id

    return str(parse_public_id("run", public))
