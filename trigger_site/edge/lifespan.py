"""Starts and stops the watch of the database with the server (ASGI lifespan)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from trigger_site.edge.database_watch import DatabaseWatch, watch_django_connections

Application = Callable[..., Awaitable[None]]


class Lifespan:
    """ASGI: answers the server's own events and passes everything else on."""

    def __init__(self, application: Application, watch: DatabaseWatch) -> None:
        self._application = application
        self._watch = watch

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return
        await receive()
        watch_django_connections()
        self._watch.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._watch.stop()
        await send({"type": "lifespan.shutdown.complete"})
