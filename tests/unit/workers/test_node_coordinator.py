"""What the worker makes of an answer: a refusal stands, a failure of the other side is asked again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiohttp import web

from apps.protocol import Heartbeat, Problem, encode
from apps.workers.node.coordinator import (
    CallRefusedError,
    Coordinator,
    CoordinatorError,
    DatabaseUnavailableError,
    UnreachableError,
)


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[Coordinator]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    coordinator = Coordinator(f"http://127.0.0.1:{runner.addresses[0][1]}", "token")
    await coordinator.open()
    try:
        yield coordinator
    finally:
        await coordinator.close()
        await runner.cleanup()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, encode(Problem("/problems/internal-error", "oops")), UnreachableError),
        (500, b"Internal Server Error", UnreachableError),
        (502, b"<html>Bad Gateway</html>", UnreachableError),
        (503, b"no server", UnreachableError),
        (503, encode(Problem("/problems/database-away", "away")), DatabaseUnavailableError),
        (200, b"<html>hello</html>", UnreachableError),
        (401, encode(Problem("/problems/worker-token-wrong", "no")), CallRefusedError),
        (404, b"<html>not here</html>", CallRefusedError),
    ],
)
async def test_only_a_judged_call_is_refused(status: int, body: bytes, expected: type[CoordinatorError]) -> None:
    """A refused poll ends the worker and a refused finish loses a result, so a failed proxy must not look like one."""
    async with answering(status, body) as coordinator:
        with pytest.raises(CoordinatorError) as raised:
            await coordinator.beat(Heartbeat(uuid4(), []))

    assert type(raised.value) is expected
