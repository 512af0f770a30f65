"""`manage.py doctor`: one line per subject, and how to fix it. Exits with 1 if something fails."""

from typing import Any

from django.core.management.base import BaseCommand

from trigger_site.doctor import Level, examine


class Command(BaseCommand):
    help = "Checks database, migrations, clock, coordinator, workers and space; says how to fix each."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        style = {Level.OK: self.style.SUCCESS, Level.WARN: self.style.WARNING, Level.FAIL: self.style.ERROR}
        has_failed = False
        for finding in examine():
            has_failed |= finding.level is Level.FAIL
            self.stdout.write(f"{style[finding.level](f'{finding.level:<4}')}  {finding.subject:<12} {finding.text}")
            if finding.mend:
                self.stdout.write(f"{'':<19}→ {finding.mend}")
        if has_failed:
            raise SystemExit(1)
