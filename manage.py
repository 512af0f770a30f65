#!/usr/bin/env python
"""Starts Django's commands; `runworker` branches off before Django loads: a worker holds no database credentials."""

import os
import sys
from pathlib import Path

WORKER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "DOCKER_HOST", "PYTHONPATH")

HIDDEN_COMMANDS = ("runweb", "runcoordinator", "runworker", "dev", "deploy")
"""These hold the secret key, the database's address or the worker's token, perhaps next to the same user's tasks."""


def start_worker(arguments: list[str]) -> None:
    """Replaces this process by the worker's program, whose environment has only its own variables."""
    root = Path(__file__).resolve().parent
    kept = {name: os.environ[name] for name in WORKER_ENVIRONMENT if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("TRIGGER_WORKER_")}
    for name in (
        "TRIGGER_COORDINATOR_URL",
        "TRIGGER_EXECUTOR",
        "TRIGGER_CONCURRENCY",
        "TRIGGER_BASE_IMAGE",
        "TRIGGER_DRAIN_SECONDS",
    ):
        if name in os.environ:
            kept[name] = os.environ[name]
    from apps.workers.node.installing import installer_settings

    kept |= installer_settings(os.environ)
    kept["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(root), str(root / "sdk" / "python"), kept.get("PYTHONPATH")])
    )
    from apps.workers.node.hiding import hand_over

    os.execve(sys.executable, [sys.executable, "-m", "apps.workers.node", *arguments], hand_over(kept))


def main() -> None:
    sys.path.insert(1, str(Path(__file__).resolve().parent / "sdk" / "python"))
    if sys.argv[1:2] and sys.argv[1] in HIDDEN_COMMANDS:
        from apps.workers.node.hiding import hide

        hide()
    if sys.argv[1:2] == ["runworker"]:
        start_worker(sys.argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
