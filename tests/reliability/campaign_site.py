"""The installation of a campaign: a durable database, two web processes, coordinators and workers that can be killed.

Each worker reaches the coordinators through a proxy of its own. What dies is started again only by who killed it; a
program that ends by itself is noted, and started again so that the campaign goes on.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import psycopg
from trigger_sdk import Client

from tests.acceptance.installation import ROOT, Installation, answers
from tests.ports import reserve_port
from tests.reliability.campaign_engine import Engine
from tests.reliability.campaign_plants import planted_tasks
from tests.reliability.campaign_wire import Wire
from trigger_site.development.postgres import EmbeddedPostgres
from trigger_site.development.processes import die_with_parent

TASKS = Path(__file__).parent / "campaign_tasks"
TASK_IDS = tuple(f"campaign-{number}" for number in range(4))
"""The same task under several ids: all runs of a killed worker fail at once, and ten of one task would cool it down."""

BACK_SECONDS = 60.0
"""So long a program that was started may take until it answers."""
CONCURRENCY = {"process": 10, "docker": 4}
TASK_SET = "campaign"
TARGET_SECONDS = 20.0
"""So long a fault waits for something to hit."""

WATCH_SECONDS = 0.2
EXITS_MAX = 50
SET_UP = """
from apps.access.keys import create_key
from apps.runs.models import TaskControl
for number in range(4):
    TaskControl.objects.get_or_create(task_id=f"campaign-{number}")
print("KEY", create_key(name="campaign", role="operator")[1])
"""
"""A task's row of controls stands there as after a person has set something, so that it can be locked."""


class Program:
    """One program of the site, life after life."""

    def __init__(self, name: str, launch: Callable[["Program"], subprocess.Popen[bytes]]) -> None:
        self.name = name
        self.life = 0
        self.is_expected_down = False
        self.is_frozen = False
        self.worker_id = ""
        """Of its present life, where it is a worker."""
        self.peak_bytes = 0
        self.last_bytes = 0
        self.first_bytes = 0
        self._launch = launch
        self.process = launch(self)

    @property
    def life_name(self) -> str:
        return f"{self.name}.{self.life}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Ends this life and returns its exit code; TimeoutExpired where SIGTERM does not end it."""
        self.is_expected_down = True
        self.process.send_signal(number)
        return self.process.wait(BACK_SECONDS)

    def start(self) -> None:
        self.life += 1
        self.process = self._launch(self)
        self.is_expected_down = False

    def measure(self) -> None:
        """Takes the memory of the program with its agents; nothing where it is just ending."""
        try:
            found = psutil.Process(self.pid)
            self.last_bytes = sum(each.memory_info().rss for each in [found, *_agents_of(found)])
        except psutil.NoSuchProcess:
            return
        self.first_bytes = self.first_bytes or self.last_bytes
        self.peak_bytes = max(self.peak_bytes, self.last_bytes)


class CampaignSite(Installation):
    """`plant` names the bug that its programs have, if any (`campaign_plants`)."""

    def __init__(self, cluster: EmbeddedPostgres, folder: Path, *, executor: str, plant: str) -> None:
        super().__init__(cluster.url, folder)
        self.cluster = cluster
        self.executor = executor
        self.exits: list[str] = []
        self.programs: list[Program] = []
        self.webs: list[Program] = []
        self.coordinators: list[Program] = []
        self.workers: list[Program] = []
        self.clients: list[Client] = []
        self.wires: list[Wire] = []
        self.key = ""
        self.engine = Engine(TASK_SET) if executor == "docker" else None
        self.ledger = self.engine.ledger if self.engine else folder / "ledger"
        self.ledger.mkdir(exist_ok=True)
        self._plant = plant
        self._measured_at = 0.0
        self._web_ports, self._coordinator_ports, self._wire_ports = (
            [reserve_port(), reserve_port()] for _ in range(3)
        )
        self._environment |= {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk' / 'python'}",
            "TRIGGER_CONCURRENCY": str(CONCURRENCY[executor]),
        }
        for name in ("DOCKER_HOST", "TRIGGER_BASE_IMAGE"):
            if name in os.environ:
                self._environment[name] = os.environ[name]

    def begin(self) -> None:
        """Everything answers and the task is deployed."""
        self.manage("migrate", "--verbosity", "0")
        for place, port in enumerate(self._coordinator_ports):
            self.coordinators.append(self._program(f"coordinator-{place}", "runcoordinator", "--port", str(port)))
        for place, port in enumerate(self._web_ports):
            self.webs.append(self._program(f"web-{place}", "runweb", "--port", str(port)))
        self.key = self.manage("shell", "--no-imports", "-c", SET_UP).split("KEY ")[1].split()[0]
        self.clients = [Client(f"http://127.0.0.1:{port}", self.key) for port in self._web_ports]
        for program in self.programs:
            self.await_back(program)
        self.manage("deploy", str(self._write_tasks()))
        for place, port in enumerate(self._wire_ports):
            targets = [*self._coordinator_ports[place:], *self._coordinator_ports[:place]]
            self.wires.append(Wire(port, targets))
            self.workers.append(self._program(f"worker-{place}", "runworker", "--executor", self.executor))
            self.await_back(self.workers[-1])

    def _write_tasks(self) -> Path:
        folder = self.folder / TASK_SET
        folder.mkdir()
        text = planted_tasks(self._plant, (TASKS / "tasks.py").read_text())
        for task_id in TASK_IDS:
            (folder / f"{task_id.replace('-', '_')}.py").write_text(text.replace('"campaign"', f'"{task_id}"'))
        return folder

    def _program(self, name: str, *arguments: str) -> Program:
        program = Program(name, lambda life: self._launch(life, arguments))
        self.programs.append(program)
        return program

    def _launch(self, program: Program, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        command = ["-m", "tests.reliability.campaign_plants", self._plant] if self._plant else ["manage.py"]
        variables: dict[str, str] = {}
        if program.name.startswith("worker"):
            place = int(program.name[-1])
            variables = {
                "TRIGGER_WORKER_NAME": program.life_name,
                "TRIGGER_WORKER_DIR": str(self._worker_folder(program)),
                "TRIGGER_COORDINATOR_URL": f"http://127.0.0.1:{self._wire_ports[place]}",
            }
        with (self.folder / f"{program.name}.log").open("ab") as log:
            log.write(f"--- life {program.life}\n".encode())
            process = subprocess.Popen(
                [sys.executable, *command, *arguments],
                cwd=ROOT, env=self._environment | variables, stdout=log, stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        self.processes.append(process)
        return process

    def _worker_folder(self, worker: Program) -> Path:
        return self.folder / f"w{worker.name[-1]}"

    def await_back(self, program: Program) -> None:
        """Watches until the program does its work; one that does not come back in time, or ends, is noted."""
        if not self.watch_until(lambda: self._is_back(program), BACK_SECONDS):
            self.exits.append(f"{program.life_name} does not come back within {BACK_SECONDS:g} s")

    def _is_back(self, program: Program) -> bool:
        kind, _, place = program.name.partition("-")
        if kind == "worker":
            rows = self.ask("SELECT id FROM workers_worker WHERE name = %s", program.life_name)
            program.worker_id = str(rows[0][0]) if rows else ""
            return bool(rows)
        ports = self._web_ports if kind == "web" else self._coordinator_ports
        return answers(f"http://127.0.0.1:{ports[int(place)]}/health")

    def ask(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows, or none while the database is away."""
        try:
            return self.query(sql, *parameters)
        except psycopg.OperationalError:
            return []

    def watch_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Watches until the condition holds; False after so long."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.watch()
            time.sleep(WATCH_SECONDS)
        return True

    def watch_for(self, seconds: float) -> None:
        self.watch_until(lambda: False, seconds)

    def watch(self) -> None:
        """Notes and mends exits that nobody has caused, and measures memory once in a while."""
        for program in self.programs:
            code = program.process.poll()
            if code is not None and not program.is_expected_down:
                self.exits.append(f"{program.life_name} exited by itself with {code}")
                if len(self.exits) > EXITS_MAX:
                    raise RuntimeError(f"too many exits to go on, the last of {program.life_name}; see {self.folder}")
                program.start()
        assert self.cluster.process is not None
        if self.cluster.process.poll() is not None:
            self.exits.append(f"the database exited by itself with {self.cluster.process.returncode}")
            self.cluster.start()
        if time.monotonic() - self._measured_at > 2:
            self._measured_at = time.monotonic()
            for program in self.programs:
                program.measure()

    @property
    def awake(self) -> list[Program]:
        """The workers that are not frozen."""
        return [program for program in self.workers if not program.is_frozen]

    @property
    def ledger_of_tasks(self) -> str:
        """The folder as the tasks are told it; empty where they cannot reach it."""
        return "" if self.engine else str(self.ledger)

    def containers(self, worker: Program) -> dict[str, str]:
        """By id the run of each container of the worker."""
        return self.engine.containers(self._worker_folder(worker)) if self.engine else {}

    def agents(self, worker: Program) -> list[psutil.Process]:
        """The agents of a worker, in its containers too."""
        if self.engine:
            return [agent for container in self.containers(worker) if (agent := self.engine.agent(container))]
        try:
            return _agents_of(psutil.Process(worker.pid))
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for program in self.programs:
            program.is_expected_down = True
            if program.is_frozen and program.process.poll() is None:
                program.process.send_signal(signal.SIGCONT)
        super().stop()
        for wire in self.wires:
            wire.close()
        if self.engine:
            self.engine.close(self.folder / "ledger")


def _agents_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children():
        try:
            if "trigger_sdk.agent" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
