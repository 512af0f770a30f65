"""`manage.py runweb`: the web process (dashboard, HTTP API, live pages)."""

import warnings
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trigger_site.edge.server import guarded
from trigger_site.web.static_files import uncollected_file

# Long-polling answers and open sockets are cut this long after the process is asked to stop.
STOP_SECONDS = 2


class Command(BaseCommand):
    help = "Serves the dashboard, the HTTP API and the live pages."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.TRIGGER_HOST)
        parser.add_argument("--port", type=int, default=settings.TRIGGER_PORT)

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        # WhiteNoise reads its files in chunks, which Django reports once per process; the files are small.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
        if not settings.IS_DEVELOPMENT and (missing := uncollected_file()):
            raise CommandError(
                f"{missing} is not among the collected static files in {settings.STATIC_ROOT}. Run "
                f"`manage.py collectstatic --noinput` first, and after each update."
            )
        config = guarded(
            "trigger_site.asgi:application",
            host=host,
            port=port,
            lifespan="on",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        server.run()
        if not server.started:
            raise CommandError(f"The web process cannot listen on {host}:{port}.")
