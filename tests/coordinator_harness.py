"""A coordinator in the test's process: the real ASGI application, pool, dispatcher and writers on the test database.

Fixtures commit, because the coordinator has connections of its own; they empty the tables that runs live in afterwards.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection

from apps import protocol as wire
from apps.live import notify as broadcast
from apps.live.notify import Notifier
from apps.runs.lifecycle import trigger
from apps.runs.models import Run
from apps.workers import leases
from tests.factories import make_task
from trigger_site.coordinator.app import CoordinatorApi
from trigger_site.coordinator.database import Database
from trigger_site.coordinator.kinds import KINDS
from trigger_site.coordinator.kinds.base import Kind
from trigger_site.coordinator.polls import Dispatcher
from trigger_site.coordinator.server import _listen

TOKEN = "the-worker-token"
DEADLINE_SECONDS = 60.0
PATIENCE_SECONDS = 20.0
"""More than in production: races are to be decided by who comes first."""

APPLICATION_NAME = "coordinator-harness"

T = TypeVar("T")
Reply = TypeVar("Reply", bound=wire.Message)


class Refused(Exception):
    """The coordinator answered with a problem."""

    def __init__(self, status: int, problem: wire.Problem) -> None:
        super().__init__(f"{status} {problem.type}: {problem.detail}")
        self.status = status
        self.kind = problem.type.removeprefix("/problems/")


def until(condition: Callable[[], T], what: str = "") -> T:
    """The condition's first true value; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:g} s: {what or condition}"
        time.sleep(0.01)
    return value


class Exchange:
    """One request to the ASGI application; `disconnect` breaks its connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, api: CoordinatorApi, scope: dict[str, Any], body: list[bytes]):
        self._loop = loop
        self._body = list(body) or [b""]
        self._gone = asyncio.Event()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self.future: Future[None] = asyncio.run_coroutine_threadsafe(api(scope, self._receive, self._send), loop)

    def disconnect(self) -> None:
        self._loop.call_soon_threadsafe(self._gone.set)

    def wait(self) -> tuple[int, bytes]:
        self.future.result(DEADLINE_SECONDS)
        return self.status, b"".join(self._parts)

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(0), "more_body": bool(self._body)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: Any) -> None:
        if event["type"] == "http.response.start":
            self.status, self.headers = event["status"], dict(event["headers"])
        else:
            self._parts.append(event["body"])


class Coordinator:
    """One coordinator on an event loop of its own thread; several may share a database."""

    def __init__(self, database_url: str, patience_seconds: float, kinds: Sequence[Kind[Any]] = KINDS) -> None:
        self._patience_seconds = patience_seconds
        self._kinds = kinds
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="coordinator")
        self._thread.start()
        self.database = self.run(self._build(database_url))
        self._background: list[asyncio.Task[None]] = []

    async def _build(self, database_url: str) -> Database:
        database = Database(database_url, writer_count=len(self._kinds), patience_seconds=self._patience_seconds)
        await database.open()
        self.dispatcher = Dispatcher(database)
        self.api = CoordinatorApi(database=database, dispatcher=self.dispatcher, worker_token=TOKEN, kinds=self._kinds)
        return database

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_SECONDS)

    def dispatch(self, *, is_listening: bool = False) -> None:
        """Starts serving held polls, with or without notifications."""

        async def start() -> None:
            self._background.append(asyncio.create_task(self.dispatcher.run()))
            if is_listening:
                self._background.append(asyncio.create_task(_listen(self.dispatcher)))

        self.run(start())

    def request(
        self, method: str, path: str, body: bytes | list[bytes] = b"", headers: dict[str, str] | None = None
    ) -> Exchange:
        given = {"authorization": f"Bearer {TOKEN}", **(headers or {})}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "query_string": query.encode(),
            "path": f"/coordinator/v1/{path}",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        return Exchange(self.loop, self.api, scope, body if isinstance(body, list) else [body])

    def post(self, path: str, message: wire.Message, reply: type[Reply]) -> Reply:
        return answer(self.request("POST", path, wire.encode(message)), reply)

    def get(self, path: str, reply: type[Reply], headers: dict[str, str] | None = None) -> Reply:
        return answer(self.request("GET", path, headers=headers), reply)

    def register(self, worker_id: UUID | None = None, protocol: str = wire.PROTOCOL_VERSION) -> UUID:
        worker_id = worker_id or uuid4()
        self.post("workers", wire.Registration(worker_id, "node-1", "process", 10, protocol), wire.Registered)
        return worker_id

    def poll(self, worker_id: UUID, capacity: int = 10, poll_id: UUID | None = None, **fields: Any) -> Exchange:
        return self.request("POST", "polls", wire.encode(wire.Poll(worker_id, poll_id or uuid4(), capacity, **fields)))

    def claim(self, worker_id: UUID, capacity: int = 10) -> list[wire.Claim]:
        """Claims at once; the dispatcher is running and something is pending."""
        return answer(self.poll(worker_id, capacity), wire.PollReply).claims

    def starts(self, *items: wire.Start) -> list[wire.Result]:
        return self.post("starts", wire.Batch(list(items)), wire.Results).items

    def save(self, *items: wire.CheckpointItem) -> list[wire.Result]:
        return self.post("checkpoints", wire.Batch(list(items)), wire.Results).items

    def log(self, *items: wire.LogBatch) -> list[wire.Result]:
        return self.post("logs", wire.Batch(list(items)), wire.Results).items

    def finish(self, *items: wire.Finish) -> list[wire.Result]:
        return self.post("finishes", wire.Batch(list(items)), wire.Results).items

    def beat(self, worker_id: UUID, *leases: wire.Lease, **fields: Any) -> wire.HeartbeatReply:
        return self.post("heartbeats", wire.Heartbeat(worker_id, list(leases), **fields), wire.HeartbeatReply)

    def stored(self, run_id: UUID, token: bytes) -> list[wire.StoredCheckpoint]:
        """All pages."""
        items: list[wire.StoredCheckpoint] = []
        page = self.stored_page(run_id, token)
        while page.next_after is not None:
            items += page.items
            page = self.stored_page(run_id, token, page.next_after)
        return items + page.items

    def stored_page(self, run_id: UUID, token: bytes, after: int | None = None) -> wire.StoredCheckpoints:
        query = "" if after is None else f"?after={after}"
        return self.get(f"runs/{run_id}/checkpoints{query}", wire.StoredCheckpoints, _holding(token))

    def stored_data(self, run_id: UUID, token: bytes, index: int) -> bytes | None:
        return self.get(f"runs/{run_id}/checkpoints/{index}", wire.StoredData, _holding(token)).data

    def close(self) -> None:
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self.loop.close()

    async def _close(self) -> None:
        self.dispatcher.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.database.close()


def _holding(token: bytes) -> dict[str, str]:
    return {"x-attempt-token": token.hex()}


def answer(exchange: Exchange, reply: type[Reply]) -> Reply:
    status, body = exchange.wait()
    if status != 200:
        raise Refused(status, wire.decode(body, wire.Problem))
    return wire.decode(body, reply)


class Clock:
    """Moves the database's clock by replacing `trigger_now()`."""

    def advance(self, seconds: float) -> None:
        self._seconds = getattr(self, "_seconds", 0.0) + seconds
        self._define(f"SELECT clock_timestamp() + make_interval(secs => {self._seconds})")

    def advance_beating(self, seconds: float) -> None:
        """Time passes while coordinators keep stamping the pulse."""
        while seconds > 0:
            step = min(seconds, 10.0)
            self.advance(step)
            leases.stamp_pulse()
            seconds -= step

    def reset(self) -> None:
        self._define("SELECT clock_timestamp()")

    def _define(self, body: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION trigger_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
                f"AS '{body}'"
            )


@pytest.fixture
def db(django_db_setup: None, django_db_blocker: Any, settings: Any) -> Iterator[str]:
    """The address of the test database; what the test commits is visible to every connection.

    Stands in for pytest-django's fixture of this name: by it the plugin knows that the session needs a database. Its
    `transactional_db` would empty the tables that migrations filled.
    """
    with django_db_blocker.unblock():
        url = connection_url()
        settings.DATABASE_URL = settings.LISTEN_DATABASE_URL = url
        before, broadcast._notifier = broadcast._notifier, Notifier(url)
        try:
            yield url
        finally:
            broadcast.notifier().flush()
            broadcast._notifier = before
            with connection.cursor() as cursor:
                cursor.execute(
                    "TRUNCATE access_apikey, access_auditentry, runs_deployment, runs_variable, runs_attempt, "
                    "runs_logline, runs_taskcontrol, queues_queue, queues_ratelimit, workers_worker, workers_pulse "
                    "CASCADE"
                )
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = %s",
                    [APPLICATION_NAME],
                )
            connection.close()


@pytest.fixture
def committed(db: str) -> str:
    return db


def connection_url() -> str:
    connection.ensure_connection()
    parameters = connection.get_connection_params()
    keys = ("dbname", "user", "password", "host", "port")
    return psycopg.conninfo.make_conninfo(
        "", application_name=APPLICATION_NAME, **{key: parameters[key] for key in keys if parameters.get(key)}
    )


@pytest.fixture
def clock(committed: str) -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.reset()


@contextmanager
def a_coordinator(
    url: str, patience_seconds: float = PATIENCE_SECONDS, kinds: Sequence[Kind[Any]] = KINDS
) -> Iterator[Coordinator]:
    coordinator = Coordinator(url, patience_seconds, kinds)
    try:
        yield coordinator
    finally:
        coordinator.close()


@pytest.fixture
def coordinator(committed: str) -> Iterator[Coordinator]:
    """A coordinator that serves polls by sweeping only."""
    with a_coordinator(committed) as coordinator:
        coordinator.dispatch()
        yield coordinator


@pytest.fixture
def worker_id(coordinator: Coordinator) -> UUID:
    return coordinator.register()


@pytest.fixture
def claim(coordinator: Coordinator, worker_id: UUID) -> wire.Claim:
    """The first attempt of a new run, claimed by the worker."""
    return claimed_run(coordinator, worker_id)


def claimed_run(coordinator: Coordinator, worker_id: UUID, **options: Any) -> wire.Claim:
    from apps.runs.models import Task

    if not Task.objects.filter(id="process-order").exists():
        make_task()
    trigger("process-order", {"order_id": "A1"}, **options)
    (claim,) = coordinator.claim(worker_id, 1)
    return claim


def again(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> wire.Claim:
    """Ends the attempt by an expired lease of a silent worker; the run's next attempt."""
    from apps.workers.leases import expire_leases

    Run.objects.filter(id=claim.run_id).update(lease_end="2000-01-01T00:00:00Z")
    assert claim.run_id in expire_leases()
    (following,) = coordinator.claim(worker_id, 1)
    assert following.run_id == claim.run_id
    assert following.token != claim.token
    return following


def checkpoint_of(
    claim: wire.Claim, key: str = "order-fetched", data: bytes = b'{"a":1}', **fields: Any
) -> wire.CheckpointItem:
    fields.setdefault("binds", ["order"])
    return wire.CheckpointItem(claim.run_id, claim.token, key, data, **fields)


def finish_of(claim: wire.Claim, outcome: str = "completed", **fields: Any) -> wire.Finish:
    if outcome == "completed":
        fields.setdefault("output", b'{"paid":true}')
    return wire.Finish(claim.run_id, claim.token, outcome, **fields)


def log_of(claim: wire.Claim, *messages: str, sequence: int = 1, **fields: Any) -> wire.LogBatch:
    lines = [
        wire.LogItem("info", "log", message, fields.pop("at", "2026-01-02T03:04:05+00:00"), sequence + n, **fields)
        for n, message in enumerate(messages)
    ]
    return wire.LogBatch(claim.run_id, claim.token, claim.attempt, lines)


def start_of(claim: wire.Claim, **fields: Any) -> wire.Start:
    return wire.Start(claim.run_id, claim.token, "box-1", "cold", 0.1, **fields)


def run_of(claim: wire.Claim) -> Run:
    return Run.objects.select_related("value").get(id=claim.run_id)
