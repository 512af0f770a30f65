"""`manage.py deploy PATH`: checks a task folder and makes it the newest deployment of its task set."""

import json
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError

from apps.access.permissions import Actor
from apps.runs.errors import DeploymentRefused
from apps.runs.tasks.archives import build_archive
from apps.runs.tasks.deployments import Registration, known_lock, register
from apps.runs.variables.encryption import UnreadableValueError
from apps.runs.variables.store import values_of
from apps.workers.node.variables import VariablesUnavailableError
from trigger_site.development.dotenv import name_folder, with_local_variables
from trigger_site.inspection import InspectionError, inspect_archive


class Command(BaseCommand):
    help = "Checks a task folder and registers it. If it is refused, the previous deployment stays."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, metavar="PATH", help="the task folder")
        parser.add_argument(
            "--upgrade",
            action="store_true",
            dest="is_upgrade",
            help="lock the newest versions that its requirements allow, even if the folder did not change",
        )
        parser.add_argument("--json", action="store_true", dest="is_json", help="print the result as JSON")

    def handle(self, *args: Any, path: Path, is_json: bool, is_upgrade: bool, **options: Any) -> None:
        try:
            archive = build_archive(path)
            known = "" if is_upgrade else known_lock(archive)
            inspected = inspect_archive(
                archive, path.resolve().name, known_lock=known, variables_of=partial(_variables_of, path)
            )
            manifest = inspected.manifest
            if manifest["errors"]:
                self._refuse([_finding(path, row) for row in manifest["errors"]], is_json=is_json)
            hints = [_finding(path, row) for row in manifest["hints"]]
            actor = Actor.of_console("deploy")
            registration = register(
                task_set=manifest["name"], archive=archive, manifest=manifest, actor=actor, lock=inspected.lock
            )
        except DeploymentRefused as error:
            rows = [{"place": field.path, "message": field.message} for field in error.errors]
            self._refuse(rows or [{"place": str(path), "message": error.detail}], is_json=is_json)
        except (InspectionError, UnreadableValueError, VariablesUnavailableError) as error:
            self._refuse([{"place": str(path), "message": str(error)}], is_json=is_json)
        except OperationalError as error:
            self._refuse([{"place": "database", "message": str(error).strip()}], is_json=is_json)
        self._report(registration, [task["id"] for task in manifest["tasks"]], hints, is_json=is_json)

    def _report(
        self, registration: Registration, tasks: list[str], hints: list[dict[str, Any]], *, is_json: bool
    ) -> None:
        deployment = registration.deployment
        if is_json:
            answer = {
                "deployment": deployment.public_id,
                "task_set": deployment.task_set,
                "version": deployment.version,
                "is_new": registration.is_new,
                "tasks": tasks,
                "retired": list(registration.retired),
                "hints": hints,
            }
            self.stdout.write(json.dumps(answer))
            return
        for row in hints:
            self.stderr.write(f"{row['place']}: {row['message']}", self.style.WARNING)
        if not registration.is_new:
            self.stdout.write(f"{deployment} is unchanged.")
            return
        self.stdout.write(f"Deployed {deployment}: {', '.join(tasks)}.")
        if registration.retired:
            self.stdout.write(f"Retired, because no longer in the folder: {', '.join(registration.retired)}.")

    def _refuse(self, rows: list[dict[str, Any]], *, is_json: bool) -> NoReturn:
        if is_json:
            self.stdout.write(json.dumps({"errors": rows}))
        else:
            for row in rows:
                self.stderr.write(f"{row['place']}: {row['message']}")
            self.stderr.write("Nothing was deployed.")
        raise SystemExit(1)


def _variables_of(folder: Path, task_set: str) -> dict[str, str]:
    """What the task set's code finds when it is imported; in development with the folder's `.env`."""
    values = values_of(task_set)
    if not settings.IS_DEVELOPMENT:
        return values
    name_folder(settings.VAR_DIR, task_set, folder)
    return with_local_variables(settings.VAR_DIR, task_set, values)


def _finding(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Formats a finding of the inspection, with a place that an editor can open."""
    file = str(path / row["file"])
    place = f"{file}:{row['line']}:{row['column']}"
    message = f"{row['severity']}: {row['message']} [{row['code']}]"
    return {**row, "file": file, "place": place, "message": message}
