"""A load beside which rows and tables are held: its counts say what waited for whom. Judges nothing."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
from django.apps import apps
from trigger_sdk.client.http_api import ApiError

from apps.storage.ids import parse_public_id
from tests.acceptance.installation import Installation, installation, until

TASKS = Path(__file__).parent / "lock_tasks"
PLAIN_PER_SECOND = 8
"""A quarter of what one worker does here, so that the load shows who waits and not how fast the machine is."""

LASTING_COUNT = 4
LATEST_SECONDS = 3.0
"""A run that was triggered so shortly before the end of a window need not have ended in it."""

VICTIM_ROWS = {
    "run": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR UPDATE",
    "attempt": "SELECT 1 FROM runs_attempt WHERE run_id = %(run)s FOR UPDATE",
    "values": "SELECT 1 FROM runs_value WHERE run_id = %(run)s FOR UPDATE",
    "checkpoints": "SELECT 1 FROM checkpoints_checkpoint WHERE run_id = %(run)s FOR UPDATE",
    "shared run": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR SHARE",
    "task": "SELECT 1 FROM runs_task WHERE id = 'victim' FOR UPDATE",
    "version": "SELECT 1 FROM runs_taskversion WHERE task_id = 'victim' FOR UPDATE",
    "control": "SELECT 1 FROM runs_taskcontrol WHERE task_id = 'victim' FOR UPDATE",
    "queue": "SELECT 1 FROM queues_queue WHERE name = 'victim' FOR UPDATE",
    "rate": "SELECT 1 FROM queues_ratelimit WHERE name = 'victim' FOR UPDATE",
    "deployment": "SELECT 1 FROM runs_deployment FOR UPDATE",
    "worker": "SELECT 1 FROM workers_worker FOR UPDATE",
    "pulse": "SELECT 1 FROM workers_pulse FOR UPDATE",
    "keys": "SELECT 1 FROM runs_idempotencykey FOR UPDATE",
}
MODES = ("SHARE", "ACCESS EXCLUSIVE")
OF_THE_PRODUCT = ("runs", "checkpoints", "queues", "workers", "access")


def tables() -> list[str]:
    """All tables of the product."""
    models = [model for label in OF_THE_PRODUCT for model in apps.get_app_config(label).get_models()]
    return sorted({model._meta.db_table for model in models if not model._meta.proxy})


class Window:
    """What came of the plain runs that were triggered while something was held."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.triggered = 0
        self.refused = 0
        self.completed = 0

    @property
    def share(self) -> float:
        return self.completed / max(1, self.triggered)


class LockSite:
    def __init__(self, site: Installation) -> None:
        self.site = site
        self.gate = site.folder / "gate"
        self.lasting: list[str] = []
        self.victim = ""
        self._plain: list[tuple[float, str]] = []
        self._refused: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_triggering, name="load")

    def begin(self) -> None:
        self.site.manage("deploy", str(TASKS))
        self.site.start_worker()
        self.gate.touch()
        client, payload = self.site.client, {"gate": str(self.gate)}
        self.lasting = [client.trigger("lasting", payload).id for _ in range(LASTING_COUNT)]
        self.victim = client.trigger("victim", payload, idempotency_key="victim").id
        self.site.query("INSERT INTO queues_queue (name, is_paused, rate_limit) VALUES ('victim', false, '')")
        self.site.query(
            "INSERT INTO runs_taskcontrol (task_id, is_paused, rate_limit, rate_limit_per_key, failing_runs) "
            "VALUES ('victim', false, '', '', ARRAY[gen_random_uuid()])"
        )
        saving = "SELECT DISTINCT run_id FROM checkpoints_checkpoint"
        until(lambda: len(self.site.query(saving)) == LASTING_COUNT + 1, f"the first steps: {self.site.logs()}")
        self._thread.start()

    def end(self) -> None:
        """Lets all runs go to their end."""
        self._stopping.set()
        self._thread.join()
        self.gate.unlink(missing_ok=True)
        unfinished = "SELECT id FROM runs_run WHERE finished_at IS NULL"
        until(lambda: not self.site.query(unfinished), f"the end of all runs: {self.site.logs()}")

    def _keep_triggering(self) -> None:
        while not self._stopping.wait(1 / PLAIN_PER_SECOND):
            try:
                self._plain.append((time.monotonic(), self.site.client.trigger("plain").id))
            except ApiError as error:
                if error.status != 503:
                    raise
                self._refused.append(time.monotonic())

    @contextmanager
    def holding(self, texts: Sequence[str], seconds: float) -> Iterator[Window]:
        """Holds what the statements lock for so long; the window is counted when the block begins."""
        window = Window()
        with ExitStack() as stack:
            for text in texts:
                # A session each, as of several people.
                session = stack.enter_context(psycopg.connect(self.site.database_url))
                session.execute(text.encode(), {"run": self._uuid(self.victim)})
            window.began_at = time.monotonic()
            self._stopping.wait(seconds)
            self._count(window)
            for session in (stack.pop_all(),):
                session.close()
        yield window

    def _count(self, window: Window) -> None:
        latest = time.monotonic() - LATEST_SECONDS
        ids = [self._uuid(run_id) for at, run_id in list(self._plain) if window.began_at <= at <= latest]
        window.triggered = len(ids)
        window.refused = sum(at >= window.began_at for at in list(self._refused))
        window.completed = self._completed_count(ids)

    def _completed_count(self, ids: Sequence[UUID]) -> int:
        """By the web process's own view where the table can be read, else unknown and counted later."""
        with psycopg.connect(self.site.database_url, autocommit=True) as session:
            session.execute("SET lock_timeout = '500ms'")
            try:
                cursor = session.execute(
                    "SELECT count(*) FROM runs_run WHERE id = ANY(%s) AND state = 'completed'", (list(ids),)
                )
            except psycopg.errors.LockNotAvailable:
                return 0
            return int((cursor.fetchone() or (0,))[0])

    def ends_of_attempts(self) -> set[tuple[str, int]]:
        """(outcome, number) of all attempts there were; one run, one attempt is what nothing has disturbed."""
        return {(str(o), int(str(n))) for o, n in self.site.query("SELECT outcome, number FROM runs_attempt")}

    def living_attempts(self) -> int:
        rows = self.site.query(
            "SELECT count(*) FROM runs_attempt a JOIN runs_run r ON r.id = a.run_id "
            "WHERE a.outcome = '' AND a.number = 1 AND r.task_id IN ('lasting', 'victim')"
        )
        return int(str(rows[0][0]))

    def step_counts(self) -> dict[str, int]:
        rows = self.site.query("SELECT run_id, count(*) FROM checkpoints_checkpoint GROUP BY run_id")
        return {str(run_id): int(str(count)) for run_id, count in rows}

    @staticmethod
    def _uuid(public: str) -> UUID:
        found = parse_public_id("run", public)
        assert found is not None
        return found


@contextmanager
def lock_site(database_url: str) -> Iterator[LockSite]:
    with installation(database_url) as site:
        locked = LockSite(site)
        try:
            locked.begin()
            yield locked
        finally:
            locked._stopping.set()
