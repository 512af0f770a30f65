"""Where a program under test is watched: below its own code, at the calls of psycopg and aiohttp. Decides nothing."""

import contextvars
import functools
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability.kill_points import AFTER, BEFORE, LOST, Points

ROOT = Path(__file__).resolve().parents[2]
COORDINATOR_PATH = "/coordinator/v1/"

SAVEPOINT_NAME = re.compile('"[^"]*"')

CLAIM_LANE = {"find_lanes", "claim BEGIN", "lock_claims", "lane_terms", "claim_runs", "claim COMMIT"}
"""Passed every second also where there is nothing to claim."""

IS_PENDING = "SELECT FROM runs_run WHERE state = 'pending'"
IS_DUE = "SELECT FROM runs_run WHERE state = 'retrying' AND due_at <= clock_timestamp()"
IS_LIVE = "SELECT FROM runs_run WHERE state IN ('pending', 'running', 'retrying')"


def coordinator(points: Points, port: int) -> Callable[[], None]:
    """The coordinator of `manage.py runcoordinator`, its statements watched."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    import django

    django.setup()
    import uvloop

    from trigger_site.coordinator.server import serve

    Statements(points, os.environ["TRIGGER_DATABASE_URL"]).watch()

    def live() -> None:
        if points.is_planted:
            plant_early_acknowledgement()
        uvloop.run(serve(host="127.0.0.1", port=port))

    return live


def plant_early_acknowledgement() -> None:
    """A bug for the checker to find: checkpoints are acknowledged before they are committed.

    Each is written only when the next one comes, which a task sends after it was told that the one before is kept.
    """
    import asyncio

    from apps.checkpoints import store

    save, unfinished, held = store.save, set[asyncio.Task[Any]](), list[Any]()

    async def acknowledge(database: Any, checkpoints: Any, *, waits: bool = False) -> list[Any]:
        if held:
            unfinished.add(asyncio.create_task(_save_late(save, held.copy())))
        held[:] = checkpoints
        return [store.Saved("saved", 0) for _ in checkpoints]

    store.save = acknowledge


async def _save_late(save: Callable[..., Any], checkpoints: Any) -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(os.environ["TRIGGER_DATABASE_URL"], autocommit=True) as database:
        await save(database, checkpoints)


class Statements:
    """Names each statement after its file, with the key of a lone checkpoint; transactions after what they are for."""

    def __init__(self, points: Points, database_url: str) -> None:
        self._points = points
        self._database_url = database_url
        from apps.storage.statements import Statement

        statements = [Statement(path) for path in ROOT.glob("apps/**/sql/*.sql")]
        self._names = {text: each.name for each in statements for text in (each.text, each.waiting_text)}
        self._unit = contextvars.ContextVar("unit", default="unit")
        self._thread = threading.local()

    def watch(self) -> None:
        import psycopg

        from apps.queues.claim import claimer as claims

        self._connect = psycopg.connect
        self._plain_execute = psycopg.Cursor.execute
        self._watch_async(psycopg)
        self._watch_sync(psycopg)
        claims.Claimer.claim = self._within("claim", claims.Claimer.claim)  # type: ignore[method-assign]
        claims.repeat = self._within("repeat", claims.repeat)

    def _within(self, unit: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        async def call(*arguments: Any, **named: Any) -> Any:
            token = self._unit.set(unit)
            try:
                return await verb(*arguments, **named)
            finally:
                self._unit.reset(token)

        return call

    def _watch_async(self, psycopg: Any) -> None:
        execute = psycopg.AsyncCursor.execute
        enter, leave = psycopg.AsyncTransaction.__aenter__, psycopg.AsyncTransaction.__aexit__

        async def watched_execute(cursor: Any, query: Any, params: Any = None, **named: Any) -> Any:
            return await self._watched(
                self._name_of(query, params), cursor.connection, execute(cursor, query, params, **named)
            )

        async def watched_enter(transaction: Any) -> Any:
            return await self._watched(f"{self._unit.get()} BEGIN", transaction.connection, enter(transaction))

        async def watched_leave(transaction: Any, *error: Any) -> Any:
            end = "COMMIT" if error[0] is None else "ROLLBACK"
            return await self._watched(f"{self._unit.get()} {end}", transaction.connection, leave(transaction, *error))

        psycopg.AsyncCursor.execute = watched_execute
        psycopg.AsyncTransaction.__aenter__, psycopg.AsyncTransaction.__aexit__ = watched_enter, watched_leave

    async def _watched(self, point: str, connection: Any, work: Any) -> Any:
        is_counted = self._is_counted(point)
        if is_counted:
            self._points.passed(point, BEFORE)
        result = await work
        if is_counted:
            if connection._pipeline is not None and self._points.is_next(point, AFTER):
                await connection._pipeline.sync()  # what a pipeline has queued was neither sent nor answered
            self._points.passed(point, AFTER)
        return result

    def _watch_sync(self, psycopg: Any) -> None:
        execute, commit = psycopg.Cursor.execute, psycopg.Connection.commit

        def watched_execute(cursor: Any, query: Any, params: Any = None, **named: Any) -> Any:
            if getattr(self._thread, "is_asking", False):
                return execute(cursor, query, params, **named)
            point = self._name_of(query, params)
            if "SAVEPOINT" not in point:
                self._thread.last = point
            is_counted = self._is_counted(point)
            if is_counted:
                self._points.passed(point, BEFORE)
            result = execute(cursor, query, params, **named)
            if is_counted:
                self._points.passed(point, AFTER)
            return result

        def watched_commit(connection: Any) -> None:
            point = f"{getattr(self._thread, 'last', 'unit')} COMMIT"
            is_counted = self._is_counted(point)
            if is_counted:
                self._points.passed(point, BEFORE)
            commit(connection)
            if is_counted:
                self._points.passed(point, AFTER)

        psycopg.Cursor.execute, psycopg.Connection.commit = watched_execute, watched_commit

    def _name_of(self, query: Any, params: Any) -> str:
        text = query.decode() if isinstance(query, bytes) else str(query)
        name = self._names.get(text)
        if name is None:
            return " ".join(SAVEPOINT_NAME.sub("", text).split())[:60]
        values = params if isinstance(params, dict) else {}
        if values.get("run_ids") == []:
            return f"{name} of none"
        keys = values.get("keys", []) if name == "save_checkpoints" else []
        return f"{name} {keys[0]}" if len(keys) == 1 else name

    def _is_counted(self, point: str) -> bool:
        """Whether a run is there that this point is passed for; no answer means that none can be."""
        import psycopg

        question = IS_PENDING if point in CLAIM_LANE else IS_DUE if point == "promote_due" else IS_LIVE
        self._thread.is_asking = True
        try:
            if getattr(self._thread, "connection", None) is None:
                self._thread.connection = self._connect(self._database_url, autocommit=True)
            return bool(self._thread.connection.execute(question + " LIMIT 1").fetchall())
        except psycopg.Error:
            self._thread.connection = None
            return False
        finally:
            self._thread.is_asking = False


def worker(points: Points) -> Callable[[], None]:
    """The worker of `manage.py runworker` with one slot, its requests watched."""
    from apps.workers.node.__main__ import main
    from tests.acceptance.installation import hand_token_over

    Requests(points).watch()
    sys.argv = ["runworker", "--executor", "process", "--concurrency", "1"]

    def live() -> None:
        hand_token_over()
        sys.exit(main())

    return live


class Requests:
    """Names each request after its address, with the key of a lone checkpoint."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._worker: Any = None

    def watch(self) -> None:
        import aiohttp

        from apps.workers.node.worker import Worker

        request, begin = aiohttp.ClientSession._request, Worker.__init__

        def remembered(worker: Any, *arguments: Any, **named: Any) -> None:
            self._worker = worker
            begin(worker, *arguments, **named)

        async def watched(session: Any, method: str, url: Any, **named: Any) -> Any:
            point = _request_name(str(url), named.get("data"))
            if self._is_for_run(point):
                self._points.passed(point, BEFORE)
            response = await request(session, method, url, **named)
            raw = await response.read()
            if _is_news(response.status, raw) if point == "polls" else self._is_for_run(point):
                self._points.passed(point, AFTER)
                if self._points.passed(point, LOST):
                    response.close()
                    raise aiohttp.ServerDisconnectedError
            return response

        Worker.__init__ = remembered  # type: ignore[method-assign, assignment]
        aiohttp.ClientSession._request = watched  # type: ignore[method-assign, assignment]

    def _is_for_run(self, point: str) -> bool:
        return point == "workers" or bool(self._worker is not None and self._worker._running)


def _request_name(url: str, body: bytes | None) -> str:
    from apps import protocol as wire

    first = url.removeprefix(COORDINATOR_PATH).split("/")[0]
    if first == "runs":
        return "stored"
    if first == "checkpoints" and body is not None:
        items = wire.CHECKPOINTS.read(body)
        return f"checkpoints {items[0].key}" if len(items) == 1 else first
    return first


def _is_news(status: int, raw: bytes) -> bool:
    """Whether a poll brought a run."""
    from apps import protocol as wire

    return status == 200 and bool(wire.decode(raw, wire.PollReply).claims)
