"""Assembles a coordinator: pool, dispatcher, application, listener and ticks around one ASGI server."""

import asyncio
import contextlib
import logging
import socket

import psycopg
import uvicorn
from django.conf import settings

from apps.live.notify import CANCEL_CHANNEL, PENDING_CHANNEL, notifier
from trigger_site.coordinator.app import CoordinatorApi
from trigger_site.coordinator.database import Database
from trigger_site.coordinator.kinds import KINDS
from trigger_site.coordinator.polls import Dispatcher
from trigger_site.coordinator.runner import Runner
from trigger_site.edge.database_watch import DatabaseWatch, watch_django_connections
from trigger_site.edge.probes import Probes
from trigger_site.edge.server import guarded

LISTEN_RETRY_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger(__name__)


class CoordinatorServer(uvicorn.Server):
    """An ASGI server that stops its dispatcher before closing connections, so that no worker is suspected."""

    def __init__(self, config: uvicorn.Config, dispatcher: Dispatcher) -> None:
        super().__init__(config)
        self._dispatcher = dispatcher

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._dispatcher.stop()
        await super().shutdown(sockets)


async def serve(*, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    database = Database(settings.DATABASE_URL, writer_count=len(KINDS))
    await database.open()
    dispatcher = Dispatcher(database)
    api = CoordinatorApi(database=database, dispatcher=dispatcher, worker_token=settings.TRIGGER_WORKER_TOKEN)
    runner = Runner()
    runner.start()
    watch = DatabaseWatch(settings.DATABASE_URL)
    watch_django_connections()
    watch.start()
    config = guarded(
        Probes(api, watch), host=host, port=port, lifespan="off", ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=5,
    )  # fmt: skip
    background = [asyncio.create_task(dispatcher.run()), asyncio.create_task(_listen(dispatcher))]
    try:
        await CoordinatorServer(config, dispatcher).serve()
    finally:
        dispatcher.stop()
        runner.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, watch.stop(), return_exceptions=True)
        await asyncio.to_thread(runner.join)
        await asyncio.to_thread(notifier().flush)
        await database.close()


async def _listen(dispatcher: Dispatcher) -> None:
    """Wakes the dispatcher on notifications; without them it still sweeps every second."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                settings.LISTEN_DATABASE_URL,
                autocommit=True,
                connect_timeout=5,
                options=settings.DATABASE_TIMEOUT_OPTIONS,
            )
            async with connection, contextlib.aclosing(connection.notifies()) as notifies:
                for channel in (PENDING_CHANNEL, CANCEL_CHANNEL):
                    await connection.execute(f"LISTEN {channel}")
                async for notice in notifies:
                    dispatcher.wake(is_cancel=notice.channel == CANCEL_CHANNEL)
        except psycopg.Error as error:
            logger.warning("coordinator.listen: %s", error)
        await asyncio.sleep(LISTEN_RETRY_SECONDS)
