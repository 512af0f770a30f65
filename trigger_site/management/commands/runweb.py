"""`manage.py runweb`: the web process (dashboard, HTTP API, live pages)."""

import warnings
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

# Long-polling answers and open sockets are cut after this long when the process is asked to stop.
STOP_SECONDS = 2


class Command(BaseCommand):
    help = "Serves the dashboard, the HTTP API and the live pages."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.TRIGGER_HOST)
        parser.add_argument("--port", type=int, default=settings.TRIGGER_PORT)

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        # WhiteNoise reads its files in chunks, which Django reports once per process; the files are small.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
        uvicorn.run(
            "trigger_site.asgi:application",
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # Else any local client could name another address as its own; peers.py reads the header where it may.
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
