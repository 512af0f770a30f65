"""Task folders: packages, modules in folders below, checkpoints in functions that are no tasks, methods."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk.agent.inspection import manifest_of
from trigger_sdk.agent.loader import root_of
from trigger_sdk.tasks import registry

from tests.unit.sdk.sources import forget_modules

SDK = Path(__file__).parents[4] / "sdk" / "python"
PRICES = "def price():\n    return 5\n"
ORDERS = (
    "from trigger_sdk import task\nfrom .prices import price\n\n@task(id='order')\ndef order():\n    return price()\n"
)
PLAIN = "from trigger_sdk import task\n\n@task(id='plain')\ndef plain():\n    return 1\n"


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Any]:
    """Writes files, checks their folder or one of them; returns the ids of the tasks, and codes with messages.

    In this process; each `trigger check` and each deploy does it in its own.
    """
    own = tmp_path / "folder"
    before = list(sys.path)

    def check(files: dict[str, str], *, only: str = "", root: Path = own) -> tuple[list[str], list[tuple[str, str]]]:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        forget()
        file = str(root / only)
        answer = manifest_of(root_of(file), [file]) if only else manifest_of(str(root))
        problems = [(row["code"], row["message"]) for row in [*answer["errors"], *answer["hints"]]]
        return sorted(task["id"] for task in answer["tasks"]), problems

    def forget() -> None:
        registry.clear()
        importlib.invalidate_caches()
        sys.path[:] = before
        forget_modules(tmp_path)

    yield check
    forget()


def test_folder_that_is_a_package_is_imported_as_one(check: Any) -> None:
    files = {"__init__.py": "", "prices.py": PRICES, "orders.py": ORDERS}

    assert check(files) == (["order"], [])
    assert check(files, only="orders.py") == (["order"], [])


def test_package_has_the_name_that_the_folder_says_else_a_fixed_one(check: Any) -> None:
    files = {"__init__.py": "", "prices.py": PRICES, "orders.py": ORDERS.replace("from .prices", "from shop.prices")}

    _, [(code, message)] = check(files)
    assert code == "missing_dependency"
    assert check({**files, "trigger.toml": 'package = "shop"\n'}) == (["order"], [])
    files["orders.py"] = ORDERS.replace("from .prices", "from folder.prices")
    (code, message) = check({**files, "trigger.toml": ""})[1][0]
    assert "write a relative import, `from . import …`" in message


def test_tasks_may_be_in_the_file_of_the_package_itself(check: Any) -> None:
    assert check({"__init__.py": ORDERS, "prices.py": PRICES}) == (["order"], [])


def test_error_in_a_package_is_reported_at_its_line(check: Any) -> None:
    _, [(code, message)] = check({"__init__.py": "", "prices.py": "1 / 0\n", "orders.py": ORDERS})

    assert (code, message) == ("import_error", "ZeroDivisionError: division by zero")


def test_name_of_a_package_must_be_one(check: Any) -> None:
    _, [(code, message)] = check({"trigger.toml": 'package = "a.b"\n', "tasks.py": PLAIN})

    assert (code, message) == ("bad_config", "`package` must be a name without dots")


def test_folder_whose_tasks_are_below_it_gets_the_line_to_write(check: Any) -> None:
    files = {"shop/__init__.py": "", "shop/prices.py": PRICES, "shop/orders.py": ORDERS}

    found, [(code, message)] = check(files)

    assert (found, code) == ([], "no_tasks")
    line = 'modules = ["shop.orders"]'
    assert message == f"the tasks of this folder are in shop.orders: write {line} in trigger.toml"
    assert check({"trigger.toml": line}) == (["order"], [])


def test_tasks_below_that_nothing_imports_are_a_hint(check: Any) -> None:
    files = {"tasks.py": PLAIN, "shop/__init__.py": "", "shop/prices.py": PRICES, "shop/orders.py": ORDERS}

    found, [(code, message)] = check(files)

    assert (found, code) == (["plain"], "unlisted_module")
    line = 'modules = ["tasks", "shop.orders"]'
    assert line in message
    assert check({"trigger.toml": line}) == (["order", "plain"], [])


def test_tasks_below_that_something_imports_are_no_hint(check: Any) -> None:
    files = {"tasks.py": PLAIN + "import shop.orders\n", "shop/prices.py": PRICES, "shop/orders.py": ORDERS}

    assert check(files) == (["order", "plain"], [])


def test_tests_and_environments_below_are_no_hint(check: Any) -> None:
    below = {f"{place}/t.py": PLAIN for place in (".venv/lib", "venv/lib", "tests", "node_modules/x")}

    assert check({"tasks.py": PLAIN, **below, "shop/test_orders.py": PLAIN}) == (["plain"], [])


HEAD = "import trigger_sdk\nfrom trigger_sdk import checkpoint, task\n"
OUTSIDE = {
    "a function": "def load():\n    checkpoint('k')\n",
    "a method": "class Service:\n    def load(self):\n        rows = 1\n        checkpoint('k', rows=rows)\n",
    "an async function": "async def load():\n    await checkpoint('k')\n",
    "a function inside one": "def make():\n    def load():\n        trigger_sdk.checkpoint('k')\n    return load\n",
    "a local import": "def load():\n    from trigger_sdk import checkpoint as save\n    save('k')\n",
}
TASK = "@task(id='t')\ndef t():\n    checkpoint('t')\n"


@pytest.mark.parametrize("text", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_checkpoint_in_a_function_that_is_no_task_is_refused(check: Any, text: str) -> None:
    _, [(code, message)] = check({"tasks.py": HEAD + text + TASK})

    assert code == "checkpoint_outside_task"
    assert "is in `load`, which is no task" in message


def test_checkpoint_in_a_helper_module_is_refused(check: Any) -> None:
    helper = HEAD + OUTSIDE["a function"]

    _, found = check({"helper.py": helper, "tasks.py": HEAD + TASK + "import helper\n"})

    assert [code for code, _ in found] == ["checkpoint_outside_task"]


def test_function_that_is_made_a_task_by_a_call_or_later_is_a_task(check: Any) -> None:
    text = "def one():\n    checkpoint('k')\ntask(id='one')(one)\n"
    text += "def make():\n    @task(id='two')\n    def two():\n        checkpoint('k')\n"

    assert check({"tasks.py": HEAD + text}) == (["one"], [])


def test_refused_task_is_not_reported_as_no_task(check: Any) -> None:
    text = "@task(id='one')\ndef one():\n    x = 1\n    checkpoint('k')\n    return x\n"

    _, found = check({"tasks.py": HEAD + text})

    assert [code for code, _ in found] == ["lost_name"]


AGREE: dict[str, dict[str, str]] = {
    "a package": {"__init__.py": "", "prices.py": PRICES, "orders.py": ORDERS},
    "a package with an error": {"__init__.py": "", "prices.py": "1 / 0", "orders.py": ORDERS},
    "a package that names itself": {
        "__init__.py": "", "prices.py": PRICES, "orders.py": ORDERS.replace(".prices", "folder.prices"),
    },
    "tasks below": {"shop/prices.py": PRICES, "shop/orders.py": ORDERS},
    "listed modules": {"trigger.toml": 'modules = ["shop.orders"]', "shop/prices.py": PRICES, "shop/orders.py": ORDERS},
    "a helper's checkpoint": {"tasks.py": HEAD + OUTSIDE["a function"] + TASK},
    "a method": {"tasks.py": HEAD + "class A:\n    @task(id='m')\n    def m(self): pass\n"},
    "a wrong step": {"tasks.py": HEAD + "@task(id='s')\ndef s():\n    trigger_sdk.step('k', len, retries=3)\n"},
    "a plain folder": {"tasks.py": PLAIN, "helper.py": "import tasks\n"},
}  # fmt: skip


@pytest.mark.parametrize("files", AGREE.values(), ids=AGREE.keys())
def test_folder_means_the_same_wherever_it_lies(check: Any, tmp_path: Path, files: dict[str, str]) -> None:
    """A deploy reads a copy under the folder's own name, a worker one that is named by its content."""
    as_checked = check(files)

    for place in ("deploy/folder", "workers/3f9ac0de3f9ac0de3f9ac0de3f9ac0de"):
        copied = tmp_path / place
        shutil.copytree(tmp_path / "folder", copied, ignore=shutil.ignore_patterns("__pycache__"))
        found, problems = check({}, root=copied)
        assert (found, [code for code, _ in problems]) == (as_checked[0], [code for code, _ in as_checked[1]]), place


@pytest.mark.parametrize("name", ["a package", "listed modules", "a plain folder"])
def test_worker_loads_what_the_check_accepted(check: Any, tmp_path: Path, name: str) -> None:
    found, _ = check(AGREE[name])

    worker = "import sys; sys.path.insert(0, sys.argv[1]); from trigger_sdk.agent.loader import load_tasks; "
    command = [sys.executable, "-I", "-c", worker + "print(load_tasks(sys.argv[2]))", str(SDK)]
    answer = subprocess.run([*command, str(tmp_path / "folder")], capture_output=True, text=True, check=False)

    assert answer.stdout.strip() == str(found), answer.stderr


METHODS = {
    "a method": "@task(id='m')\n    def m(self, team: str): return team",
    "an async method": "@task(id='m')\n    async def m(self, team: str): return team",
    "a class method above": "@classmethod\n    @task(id='m')\n    def m(cls, team: str): return team",
    "a class method below": "@task(id='m')\n    @classmethod\n    def m(cls, team: str): return team",
}


@pytest.mark.parametrize("text", METHODS.values(), ids=METHODS.keys())
def test_method_is_refused_with_one_message(check: Any, text: str) -> None:
    found, [(code, message)] = check({"tasks.py": f"{HEAD}class Reports:\n    {text}\n"})

    assert (found, code) == ([], "method")
    assert ("put `@staticmethod` in the place of `@classmethod`" in message) == ("classmethod" in text)


@pytest.mark.parametrize(
    "text",
    [
        "class Reports:\n    @staticmethod\n    @task(id='m')\n    def m(team: str): return team\n",
        "class Reports:\n    @task(id='m')\n    def m(team: str): return team\n",
        "@task(id='m')\ndef m(self: str): return self\n",
    ],
)
def test_function_that_a_run_can_call_is_accepted(check: Any, text: str) -> None:
    assert check({"tasks.py": HEAD + text}) == (["m"], [])
