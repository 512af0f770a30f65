"""`/coordinator/v1` as a plain ASGI application: the hot path, so no framework between the socket and the writers."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from apps.checkpoints import store
from apps.live.notify import announce_now
from apps.live.topics import WORKERS
from apps.workers import deployments, leases
from apps.workers import protocol as wire

from .database import Database, DatabaseAwayError, HeldError
from .polls import Dispatcher
from .writes import Writers

BODY_MAX_BYTES = 64 * 1024 * 1024
"""A worker's largest batch: its items are bounded one by one by the verbs."""

TOUCH_SECONDS = 1.0
"""A busy worker polls a hundred times a second; its row is written at most this often, well within SUSPECT_SECONDS."""

logger = logging.getLogger(__name__)

Item = TypeVar("Item", bound=wire.Message)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RefusedError(Exception):
    """A request that is answered with a problem instead of a reply."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = wire.Problem(f"/problems/{kind}", detail)


class CoordinatorApi:
    """Routes requests of workers that hold the worker token; everything else is refused."""

    def __init__(self, *, database: Database, dispatcher: Dispatcher, writers: Writers, worker_token: str) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._writers = writers
        self._touched_at: dict[UUID, float] = {}
        self._authorization = f"Bearer {worker_token}".encode()
        self._posts: dict[str, Callable[[bytes], Awaitable[wire.Message]]] = {
            "/coordinator/v1/workers": self._register,
            "/coordinator/v1/heartbeats": self._beat,
            "/coordinator/v1/starts": self._start,
            "/coordinator/v1/checkpoints": self._checkpoint,
            "/coordinator/v1/logs": self._log,
            "/coordinator/v1/finishes": self._finish,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, reply = await self._answer(scope, receive)
        except RefusedError as error:
            status, reply = error.status, error.problem
        except msgspec.ValidationError as error:
            status, reply = 422, wire.Problem("/problems/message-invalid", str(error))
        except msgspec.MsgspecError as error:
            status, reply = 400, wire.Problem("/problems/malformed-message", str(error))
        except DatabaseAwayError as error:
            status, reply = 503, wire.Problem("/problems/database-away", str(error))
        except HeldError as error:
            status, reply = 503, wire.Problem("/problems/busy", str(error))
        except ConnectionResetError:
            return
        except Exception:
            logger.exception("coordinator.request %s", scope["path"])
            status, reply = 500, wire.Problem("/problems/internal-error", "The coordinator failed; its log says why.")
        await _respond(send, status, wire.encode(reply))

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, wire.Message]:
        path, method = scope["path"], scope["method"]
        self._authorize(scope)
        if method == "POST":
            body = await _read_body(receive)
            if path == "/coordinator/v1/polls":
                return 200, await self._poll(wire.decode(body, wire.Poll), receive)
            handler = self._posts.get(path)
            if handler is not None:
                return 200, await handler(body)
        elif method == "GET":
            parts = path.removeprefix("/coordinator/v1/").split("/")
            if len(parts) == 2 and parts[0] == "deployments":
                return 200, await self._deployment(_uuid(parts[1]))
            if len(parts) in (3, 4) and parts[0] == "runs" and parts[2] == "checkpoints":
                return 200, await self._stored(
                    _uuid(parts[1]), _token(scope), parts[3:], scope.get("query_string", b"")
                )
        raise RefusedError(404, "no-such-address", f"There is no {method} {path}.")

    def _authorize(self, scope: Scope) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, self._authorization):
            raise RefusedError(
                401, "worker-token-wrong", "The worker token is missing or wrong (TRIGGER_WORKER_TOKEN)."
            )

    async def _register(self, body: bytes) -> wire.Message:
        registration = wire.decode(body, wire.Registration)
        ours, theirs = wire.PROTOCOL_VERSION, registration.protocol
        if ours.split(".")[0] != theirs.split(".")[0]:
            message = f"The worker speaks protocol {theirs}, this coordinator {ours}."
            raise RefusedError(409, "protocol-mismatch", message)
        await self._database.run(lambda connection: leases.register(connection, registration))
        announce_now(WORKERS, [registration.worker_id])
        return wire.Registered(wire.HEARTBEAT_SECONDS, wire.LEASE_SECONDS)

    async def _poll(self, poll: wire.Poll, receive: Receive) -> wire.Message:
        """Holds the poll; a connection that breaks meanwhile makes its worker suspected."""
        if time.monotonic() - self._touched_at.get(poll.worker_id, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            await self._touch(poll.worker_id)
        holding = asyncio.ensure_future(self._dispatcher.hold(poll))
        gone = asyncio.ensure_future(_disconnected(receive))
        await asyncio.wait({holding, gone}, return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            gone.cancel()
            return holding.result()
        holding.cancel()
        await asyncio.wait({holding})
        await self._suspect(poll.worker_id)
        raise ConnectionResetError

    async def _suspect(self, worker_id: UUID) -> None:
        # A coordinator that stops closes its connections itself, and a newer poll shows that the worker is alive.
        if not self._dispatcher.is_stopping and not self._dispatcher.holds_poll_of(worker_id):
            self._touched_at.pop(worker_id, None)
            logger.warning("workers.suspect worker.id=%s: its connection broke", worker_id)
            try:
                await self._database.run(lambda connection: leases.suspect(connection, worker_id=worker_id))
                announce_now(WORKERS, [worker_id])
            except HeldError as error:
                logger.warning("workers.suspect worker.id=%s: %s", worker_id, error)

    async def _touch(self, worker_id: UUID, *, is_stopping: bool = False) -> None:
        try:
            contact = await self._database.run(
                lambda connection: leases.touch(connection, worker_id=worker_id, is_stopping=is_stopping)
            )
        except HeldError as error:
            # Somebody holds the workers' table, which is no reason to send a worker away.
            logger.warning("workers.touch worker.id=%s: %s", worker_id, error)
            return
        if not contact.is_known:
            raise RefusedError(404, "unknown-worker", "Register first.")
        self._touched_at[worker_id] = time.monotonic()
        if contact.has_changed:
            announce_now(WORKERS, [worker_id])

    async def _beat(self, body: bytes) -> wire.Message:
        beat = wire.decode(body, wire.Heartbeat)
        await self._touch(beat.worker_id, is_stopping=beat.is_stopping)
        if beat.is_stopping:
            self._dispatcher.release(beat.worker_id)
        if not beat.leases:
            return wire.HeartbeatReply(stale=[])
        rows = await self._renew(beat)
        return wire.HeartbeatReply(
            stale=[row.run_id for row in rows if row.is_stale],
            cancels=[row.run_id for row in rows if row.is_cancel_requested],
        )

    async def _renew(self, beat: wire.Heartbeat) -> list[Any]:
        """What could be renewed and what is stale. A lease that others keep from being renewed is not: its worker is
        there, so it does not end either."""
        rows: list[Any] = []
        try:
            rows = await self._database.run(
                lambda connection: leases.renew(connection, worker_id=beat.worker_id, leases=beat.leases)
            )
        except HeldError as error:
            logger.warning("workers.renew worker.id=%s: %s", beat.worker_id, error)
        else:
            if not any(row.is_held for row in rows):
                return rows
        await self._hold(beat.worker_id)
        return rows

    async def _hold(self, worker_id: UUID) -> None:
        try:
            if await self._database.run(lambda connection: leases.hold(connection, worker_id=worker_id)):
                return
        except HeldError as error:
            logger.warning("workers.hold worker.id=%s: %s", worker_id, error)
        await self._database.run(leases.grant_grace)

    async def _start(self, body: bytes) -> wire.Message:
        return await _written(body, wire.Starts, wire.Start, self._writers.starts)

    async def _checkpoint(self, body: bytes) -> wire.Message:
        return await _written(body, wire.Checkpoints, wire.CheckpointItem, self._writers.checkpoints)

    async def _log(self, body: bytes) -> wire.Message:
        return await _written(body, wire.Logs, wire.LogBatch, self._writers.logs)

    async def _finish(self, body: bytes) -> wire.Message:
        return await _written(body, wire.Finishes, wire.Finish, self._writers.finishes)

    async def _deployment(self, deployment_id: UUID) -> wire.Message:
        found = await self._database.run(lambda connection: deployments.load(connection, deployment_id=deployment_id))
        if found is None:
            raise RefusedError(404, "no-such-deployment", f"There is no deployment {deployment_id}.")
        return found

    async def _stored(self, run_id: UUID, token: bytes, index: list[str], query: bytes) -> wire.Message:
        """`/checkpoints?after=7` is a page, `/checkpoints/7` the data of one entry."""
        if index:
            number = _index(index[0])
            data = await self._database.run(
                lambda connection: store.load_data(connection, run_id=run_id, token=token, index=number)
            )
            if not data:
                raise _stale_token()
            return wire.StoredData(None if data[0] is None else data[0].encode())
        after = _index(query.removeprefix(b"after=").decode("latin-1")) if query else -1
        page = await self._database.run(
            lambda connection: store.load(connection, run_id=run_id, token=token, after_index=after)
        )
        if page is None:
            raise _stale_token()
        return wire.StoredCheckpoints([_stored(row) for row in page.rows], page.next_after)


async def _written(
    body: bytes, batch: type[Any], kind: type[Item], write: Callable[[Sequence[Item]], Awaitable[list[wire.Result]]]
) -> wire.Results:
    """The results of the batch's items; one that cannot be read is refused, and does not keep the others back."""
    try:
        return wire.Results(await write(wire.decode(body, batch).items))
    except msgspec.MsgspecError:
        raws = wire.decode(body, wire.RawItems).items
    refused: dict[int, wire.Result] = {}
    items: list[Item] = []
    for position, raw in enumerate(raws):
        try:
            items.append(wire.decode(raw, kind))
        except msgspec.MsgspecError as error:
            refused[position] = wire.Result(422, "invalid", str(error))
    written = iter(await write(items))
    return wire.Results([refused.get(position) or next(written) for position in range(len(raws))])


def _stale_token() -> RefusedError:
    return RefusedError(409, "stale", "The attempt token is not the run's present one.")


def _stored(row: Any) -> wire.StoredCheckpoint:
    return wire.StoredCheckpoint(
        key=row.key,
        index=row.index,
        data=None if row.data is None else row.data.encode(),
        binds=row.binds,
        carried=None if row.carried is None else row.carried.encode(),
        kind=row.kind,
        codec=row.codec,
    )


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX_BYTES:
            raise RefusedError(413, "message-too-large", f"A message may have {BODY_MAX_BYTES:,} bytes.")
        if not event.get("more_body"):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/msgpack"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RefusedError(404, "no-such-address", f"{text!r} is not an id.") from None


def _index(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise RefusedError(404, "no-such-address", f"{text!r} is not the index of a checkpoint.")
    return int(text)


def _token(scope: Scope) -> bytes:
    given = next((value for name, value in scope["headers"] if name == b"x-attempt-token"), b"")
    try:
        return bytes.fromhex(given.decode("ascii"))
    except ValueError:
        raise RefusedError(401, "attempt-token-wrong", "X-Attempt-Token is not hexadecimal.") from None
