"""Says whether models have changes without a migration; unlike `makemigrations --check`, it needs no database."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    sys.path[:0] = [str(ROOT), str(ROOT / "sdk" / "python")]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
    import django

    django.setup()
    from django.apps import apps
    from django.db.migrations.autodetector import MigrationAutodetector
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.state import ProjectState

    loader = MigrationLoader(None, ignore_no_migrations=True)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    changes = detector.changes(graph=loader.graph)
    for label, migrations in changes.items():
        for migration in migrations:
            print(f"{label}: no migration for {', '.join(map(str, migration.operations))}")
    print(f"{len(loader.graph.nodes)} migrations, {len(changes)} apps with changes that have none")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
