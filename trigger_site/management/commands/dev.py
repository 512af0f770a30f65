"""`manage.py dev`: runs everything on this machine under one supervisor; started by `make run`."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from apps.runs.tasks.first_run import trigger_command
from apps.workers.models import Worker
from trigger_site.development.binaries import PostgresError
from trigger_site.development.local import LocalStateError
from trigger_site.development.run import USERNAME, Development, DevelopmentError, Options, seconds_since_start
from trigger_site.development.supervisor import ChildDiedError, StopRequestedError


class Command(BaseCommand):
    help = "Starts the embedded database, web, coordinator and a worker, and deploys the examples. Ctrl-C stops all."
    requires_system_checks: list[str] = []  # `make lint` runs them; here they would cost a second at every start

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.TRIGGER_PORT, help="0 picks a free one.")
        parser.add_argument("--no-browser", action="store_true", help="Do not open the page in a browser.")
        parser.add_argument("--fresh", action="store_true", help="Erase the embedded database first.")
        parser.add_argument(
            "--executor", choices=["auto", "docker", "process"], default=os.environ.get("TRIGGER_EXECUTOR", "auto")
        )
        parser.add_argument("--no-examples", action="store_true", help="Do not deploy the example tasks.")
        parser.add_argument("--concurrency", type=int, help="How many runs the worker executes at once.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.IS_DEVELOPMENT:
            raise CommandError(
                "`dev` is for development only; with TRIGGER_ENV=production start runweb, runcoordinator and runworker."
            )
        self.opens_browser = not options["no_browser"] and sys.stdout.isatty() and has_display()
        chosen = Options(
            host=settings.TRIGGER_HOST,
            port=options["port"],
            is_fresh=options["fresh"],
            executor=options["executor"],
            concurrency=options["concurrency"],
            has_examples=not options["no_examples"],
        )
        try:
            Development(chosen, self.announce).run()
        except StopRequestedError:
            self.stdout.write("Stopped. Your data is kept in " + short_path(settings.VAR_DIR))
        except (LocalStateError, DevelopmentError, PostgresError, ChildDiedError) as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            raise SystemExit(1) from None
        except OSError as error:
            raise CommandError(f"{error.strerror}: {error.filename or settings.VAR_DIR}") from error

    def announce(self, development: Development, worker: Worker) -> None:
        command = trigger_command()
        connection.close()
        info = short_path(settings.VAR_DIR / "dev.json")
        self.stdout.write(
            f"\n  Ready in {seconds_since_start():.1f} s\n\n"
            f"  Dashboard  {development.sign_in_link}\n"
            f"             (signs you in once; after that, {development.url}, user {USERNAME}, password in {info})\n"
            f"  Executor   {worker.executor}: {worker.executor_note}\n"
            f"  API key    in {info}\n"
            + (f"  Try        {command}\n" if command else "")
            + f"\n  Ctrl-C stops everything; your data stays in {short_path(settings.VAR_DIR)}\n"
        )
        for name in development.failed_deployments():
            self.stdout.write(f"  `{name}` failed, see above; what was deployed before stays as it is.\n")
        self.stdout.flush()
        if self.opens_browser:
            webbrowser.open(development.sign_in_link)


def has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def short_path(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
