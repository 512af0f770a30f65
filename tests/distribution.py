"""The order of the tests, and which of them parallel processes keep together.

Quick and broad tests come first. A process takes one test after the other, but for modules whose tests share what
takes seconds to start: one process takes such a module as a whole.
"""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent
FOLDERS = ("unit", "integration", "models", "acceptance", "reliability", "browser")
"""The browser's are last in each process: Playwright keeps an event loop running in it until the session ends, and no
other loop can start beside that."""

TOGETHER = {
    "tests/acceptance/test_cli.py": "command line",
    "tests/acceptance/test_database_away.py": "frozen database",
    "tests/acceptance/test_docker_executor.py": "containers",
    "tests/acceptance/test_docker_images.py": "containers",
    "tests/acceptance/test_docker_warm.py": "containers",
    "tests/acceptance/test_edge.py": "servers",
    "tests/acceptance/test_kills.py": "killed workers",
    "tests/acceptance/test_make_run_serves.py": "make run",
    "tests/acceptance/test_node_neighbours.py": "neighbours",
    "tests/integration/test_embedded_postgres.py": "clusters",
    "tests/reliability/test_kill_matrix.py": "matrix",
}


def rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
    return FOLDERS.index(folder) if folder in FOLDERS else 0


def is_of_browser(item: pytest.Item) -> bool:
    return rank(item) == FOLDERS.index("browser")


class Distribution(LoadScopeScheduling):
    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)  # type: ignore[arg-type]
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)
