"""`/coordinator/v1` as a plain ASGI application: the hot path, so no framework between the socket and the writers."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from apps import protocol as wire
from apps.checkpoints import store
from apps.runs.variables.encryption import UnreadableValueError
from apps.workers import deployments, variables
from trigger_site.coordinator.contacts import Contacts
from trigger_site.coordinator.database import Database
from trigger_site.coordinator.exchange import (
    ProblemError,
    Receive,
    Scope,
    Send,
    attempt_token,
    header,
    problem_of,
    read_body,
    read_index,
    read_uuid,
    respond,
)
from trigger_site.coordinator.intake import Intake
from trigger_site.coordinator.kinds import KINDS
from trigger_site.coordinator.kinds.base import Kind
from trigger_site.coordinator.polls import Dispatcher

ROOT = "/coordinator/v1/"
POLLS = f"{ROOT}polls"


class CoordinatorApi:
    """Routes requests from workers that hold the worker token; refuses everything else."""

    def __init__(
        self, *, database: Database, dispatcher: Dispatcher, worker_token: str, kinds: Sequence[Kind[Any]] = KINDS
    ) -> None:
        self._database = database
        self._contacts = Contacts(database, dispatcher)
        self._authorization = f"Bearer {worker_token}".encode()
        self._posts: dict[str, Callable[[bytes], Awaitable[wire.Message]]] = {
            f"{ROOT}workers": self._contacts.register,
            f"{ROOT}heartbeats": self._contacts.beat,
            **{f"{ROOT}{kind.wire.name}": Intake(kind, database).take for kind in kinds},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply: wire.Message
        try:
            status, reply = 200, await self._answer(scope, receive)
        except ConnectionResetError:
            return
        except Exception as error:
            status, reply = problem_of(error, scope["path"])
        await respond(send, status, reply)

    async def _answer(self, scope: Scope, receive: Receive) -> wire.Message:
        path, method = scope["path"], scope["method"]
        self._authorize(scope)
        if method == "POST":
            body = await read_body(receive)
            if path == POLLS:
                return await self._contacts.poll(wire.decode(body, wire.Poll), receive)
            handler = self._posts.get(path)
            if handler is not None:
                return await handler(body)
        elif method == "GET":
            parts = path.removeprefix(ROOT).split("/")
            if len(parts) == 2 and parts[0] == "deployments":
                return await self._deployment(read_uuid(parts[1]))
            if len(parts) == 3 and parts[0] == "deployments" and parts[2] == "variables":
                return await self._variables(read_uuid(parts[1]))
            if len(parts) in (3, 4) and parts[0] == "runs" and parts[2] == "checkpoints":
                return await self._stored(
                    read_uuid(parts[1]), attempt_token(scope), parts[3:], scope.get("query_string", b"")
                )
        raise ProblemError(404, "no-such-address", f"There is no {method} {path}.")

    def _authorize(self, scope: Scope) -> None:
        if not hmac.compare_digest(header(scope, b"authorization"), self._authorization):
            raise ProblemError(
                401, "worker-token-wrong", "The worker token is missing or wrong (TRIGGER_WORKER_TOKEN)."
            )

    async def _deployment(self, deployment_id: UUID) -> wire.Message:
        found = await self._database.run(lambda connection: deployments.load(connection, deployment_id=deployment_id))
        if found is None:
            raise ProblemError(404, "no-such-deployment", f"There is no deployment {deployment_id}.")
        return found

    async def _variables(self, deployment_id: UUID) -> wire.Message:
        try:
            return await self._database.run(lambda connection: variables.load(connection, deployment_id=deployment_id))
        except UnreadableValueError as error:
            raise ProblemError(409, "variable-unreadable", str(error)) from error

    async def _stored(self, run_id: UUID, token: bytes, index: list[str], query: bytes) -> wire.Message:
        """Answers `/checkpoints?after=7` with a page, `/checkpoints/7` with one entry's data."""
        if index:
            number = read_index(index[0])
            data = await self._database.run(
                lambda connection: store.load_data(connection, run_id=run_id, token=token, index=number)
            )
            if not data:
                raise _stale_token()
            return wire.StoredData(None if data[0] is None else data[0].encode())
        after = read_index(query.removeprefix(b"after=").decode("latin-1")) if query else -1
        page = await self._database.run(
            lambda connection: store.load(connection, run_id=run_id, token=token, after_index=after)
        )
        if page is None:
            raise _stale_token()
        return wire.StoredCheckpoints([_stored(row) for row in page.rows], page.next_after)


def _stale_token() -> ProblemError:
    return ProblemError(409, "stale", "The attempt token is not the run's current one.")


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
