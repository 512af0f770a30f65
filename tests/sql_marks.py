"""Which modules of `tests/integration` are marked `sql`: what they find depends on Postgres itself.

Whole folders are about our SQL, its locks and its plans; elsewhere a module that has SQL of its own marks itself.
"""

import re
from pathlib import Path

INTEGRATION = Path(__file__).parent / "integration"
FOLDERS = {"checkpoints", "coordinator", "live", "queues", "runs", "workers"}

WITHOUT = {"site/test_unreadable_rows.py"}
"""These use SQL to store what no verb would; what they are about is how Python shows it."""

OWN_MARK = re.compile(r"^pytestmark = .*pytest\.mark\.sql\b", re.MULTILINE)
SIGNS = re.compile(
    r"\.cursor\(|\bpsycopg\b|\bStatement\b|\b[A-Z]{3,}(_[A-Z]+)+\.(run|run_on|text)\b"
    r'|from tests\.(callers|coordinator_harness) import|"migrate"|MigrationExecutor'
)
"""Of SQL, of several connections at once, and of migrations."""


def is_in_sql_folder(module: Path) -> bool:
    return module.is_relative_to(INTEGRATION) and module.relative_to(INTEGRATION).parts[0] in FOLDERS


def unmarked_modules() -> list[str]:
    """Those with such a sign and without the mark."""
    return [
        name
        for module in sorted(INTEGRATION.rglob("test_*.py"))
        if (name := str(module.relative_to(INTEGRATION))) not in WITHOUT
        and SIGNS.search(text := module.read_text())
        and not is_in_sql_folder(module)
        and not OWN_MARK.search(text)
    ]
