"""The worker's side of `/coordinator/v1`: one HTTP client, typed replies, and errors that say what to do next."""

from typing import TypeVar
from uuid import UUID

import aiohttp
import msgspec

from apps import protocol as wire

REQUEST_SECONDS = 15.0
POLL_REQUEST_SECONDS = wire.POLL_SECONDS + 10.0
DEPLOYMENT_REQUEST_SECONDS = 60.0
SERVER_FAULT = 500

Reply = TypeVar("Reply", bound=wire.Message)
Item = TypeVar("Item", bound=wire.AttemptWrite)


class CoordinatorError(Exception):
    """Base of the errors that a call to the coordinator can raise."""


class UnreachableError(CoordinatorError):
    """No usable answer: refused, broken, timed out, failed. The call may or may not have been carried out."""


class DatabaseUnavailableError(CoordinatorError):
    """The coordinator is alive, but its database is away or a needed row is held: a sign of life, and nothing was
    written."""


class CallRefusedError(CoordinatorError):
    """The coordinator refused the call; `kind` is the problem's name."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {kind})")
        self.status = status
        self.kind = kind


class Coordinator:
    """Makes one worker's calls; keeps its connections open."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/msgpack"}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        # Cookies and the environment's proxies have no place between a worker and its coordinator.
        self._session = aiohttp.ClientSession(
            self._url, connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def register(self, registration: wire.Registration) -> wire.Registered:
        return await self._call("POST", "workers", wire.Registered, wire.encode(registration))

    async def poll(self, poll: wire.Poll) -> wire.PollReply:
        return await self._call("POST", "polls", wire.PollReply, wire.encode(poll), seconds=POLL_REQUEST_SECONDS)

    async def beat(self, heartbeat: wire.Heartbeat) -> wire.HeartbeatReply:
        return await self._call("POST", "heartbeats", wire.HeartbeatReply, wire.encode(heartbeat))

    async def write(self, kind: wire.WriteKind[Item], items: list[Item]) -> list[wire.Result]:
        """Sends items; returns one result per item, in order."""
        return (await self._call("POST", kind.name, wire.Results, kind.encode(items))).items

    async def deployment(self, deployment_id: UUID) -> wire.DeploymentReply:
        return await self._call(
            "GET", f"deployments/{deployment_id}", wire.DeploymentReply, seconds=DEPLOYMENT_REQUEST_SECONDS
        )

    async def variables(self, deployment_id: UUID) -> wire.VariablesReply:
        return await self._call("GET", f"deployments/{deployment_id}/variables", wire.VariablesReply)

    async def stored_checkpoints(self, run_id: UUID, token: bytes, after: int = -1) -> wire.StoredCheckpoints:
        """Returns a page of the run's entries after that index; steps beyond the first megabyte are only named."""
        address = f"runs/{run_id}/checkpoints" + (f"?after={after}" if after >= 0 else "")
        return await self._read(address, wire.StoredCheckpoints, token)

    async def stored_data(self, run_id: UUID, token: bytes, index: int) -> bytes | None:
        return (await self._read(f"runs/{run_id}/checkpoints/{index}", wire.StoredData, token)).data

    async def _read(self, address: str, reply: type[Reply], token: bytes) -> Reply:
        headers = {"X-Attempt-Token": token.hex()}
        return await self._call("GET", address, reply, headers=headers, seconds=DEPLOYMENT_REQUEST_SECONDS)

    async def _call(
        self,
        method: str,
        path: str,
        reply: type[Reply],
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> Reply:
        if self._session is None:
            raise UnreachableError("the client is not open")
        timeout = aiohttp.ClientTimeout(total=seconds, connect=5)
        try:
            async with self._session.request(
                method, f"/coordinator/v1/{path}", data=body, headers=headers, timeout=timeout
            ) as response:
                raw = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{self._url}: {error or type(error).__name__}") from error
        if status == 200:
            try:
                return wire.decode(raw, reply)
            except msgspec.MsgspecError as error:
                raise UnreachableError(f"{self._url} answered with something else: {error}") from error
        raise _refusal(status, raw)


def _refusal(status: int, raw: bytes) -> CoordinatorError:
    try:
        problem = wire.decode(raw, wire.Problem)
    except msgspec.MsgspecError:
        problem = wire.Problem("not-a-coordinator", f"{raw[:100]!r}")
    kind = problem.type.removeprefix("/problems/")
    if kind in ("database-away", "busy"):
        return DatabaseUnavailableError(problem.detail)
    if status >= SERVER_FAULT:
        # A failed coordinator, or a balancer without one: neither has judged the call.
        return UnreachableError(f"{problem.detail} ({status} {kind})")
    return CallRefusedError(status, kind, problem.detail)
