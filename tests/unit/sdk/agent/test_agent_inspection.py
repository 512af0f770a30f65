"""`inspect` as deployments use it: a process that answers with a manifest, whatever is in the folder."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import cli

ROOT = Path(__file__).parents[4]
GOOD = """from trigger_sdk import task, checkpoint, Retry
print("printed while importing")

@task(id="{id}", retry=Retry(max_attempts=4), memory="1GB")
def work(order_id: str, count: int = 1):
    order = {{"id": order_id}}
    checkpoint("fetched", {{"order": order}})
    return order
"""


LOSES_A_NAME = """from trigger_sdk import task, checkpoint
@task(id="a")
def f():
    client = object()
    checkpoint("k")
    return client
"""


def inspect(folder: Path) -> tuple[int, dict[str, Any], str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'sdk' / 'python')!r}); "
    code += "from trigger_sdk.agent.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-I", "-c", code, "inspect", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode, json.loads(answer.stdout), answer.stderr


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_manifest_describes_every_task(tmp_path: Path) -> None:
    write(tmp_path, shop__py=GOOD.format(id="first"), other__py=GOOD.format(id="second"), plain__py="boom = 1 / 0\n")

    code, manifest, stderr = inspect(tmp_path)

    assert (code, manifest["errors"], manifest["name"]) == (0, [], tmp_path.name)
    first = next(task for task in manifest["tasks"] if task["id"] == "first")
    assert (first["file"], first["line"]) == ("shop.py", 5)
    assert [(point["key"], point["line"], point["names"]) for point in first["resume_points"]] == [
        ("fetched", 7, ["order"])
    ]
    assert first["payload_schema"]["required"] == ["order_id"]
    assert first["options"]["retry"]["max_attempts"] == 4
    assert "printed while importing" in stderr


def test_configuration_names_task_set_and_modules(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "work.py").write_text(GOOD.format(id="deep"))
    write(tmp_path, trigger__toml='name = "shop"\nmodules = ["jobs.work"]\n', ignored__py=GOOD.format(id="no"))

    code, manifest, _ = inspect(tmp_path)

    assert (code, manifest["name"]) == (0, "shop")
    assert [task["id"] for task in manifest["tasks"]] == ["deep"]
    assert manifest["tasks"][0]["file"] == "jobs/work.py"


def test_tests_next_to_the_tasks_are_not_imported(tmp_path: Path) -> None:
    write(tmp_path, tasks__py=GOOD.format(id="one"), test_tasks__py="import trigger_sdk, no_such_thing\n")
    write(tmp_path, conftest__py="import trigger_sdk, no_such_thing\n")

    assert inspect(tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("source", "line", "code", "message"),
    [
        ("import trigger_sdk\n\ndef f(:\n    pass\n", 3, "syntax_error", "invalid syntax"),
        ("import trigger_sdk\nimport helper\n", 2, "import_error", "ZeroDivisionError: division by zero"),
        ("import trigger_sdk\nimport requests_oauthlib_x\n", 2, "missing_dependency", "in a requirements.txt"),
        ("import trigger_sdk\nraise SystemExit(3)\n", 2, "import_error", "SystemExit: 3"),
        (
            "from trigger_sdk import task\n@task(id='a', memory='x')\ndef f(): pass\n",
            2,
            "task_option",
            "memory",
        ),
        (
            LOSES_A_NAME,
            6,
            "lost_name",
            "`client` is used on line 6",
        ),
    ],
)
def test_errors_are_where_the_user_can_fix_them(
    tmp_path: Path, source: str, line: int, code: str, message: str
) -> None:
    write(tmp_path, tasks__py=source, helper__py="\n1 / 0\n")

    exit_code, manifest, _ = inspect(tmp_path)

    (error,) = manifest["errors"]
    expected_file = ("helper.py", 2) if "helper" in source else ("tasks.py", line)
    assert exit_code == 1
    assert (error["file"], error["line"], error["code"]) == (*expected_file, code)
    assert message in error["message"]


def test_duplicate_ids_across_modules_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a__py=GOOD.format(id="same"), b__py=GOOD.format(id="same"))

    code, manifest, _ = inspect(tmp_path)

    (error,) = manifest["errors"]
    assert (code, error["file"], error["code"]) == (1, "b.py", "duplicate_task")
    assert "a.py" in error["message"]


def test_every_module_with_errors_is_reported(tmp_path: Path) -> None:
    write(
        tmp_path, a__py="import trigger_sdk\n1 / 0\n", b__py="import trigger_sdk\nunknown\n", c__py=GOOD.format(id="c")
    )

    _, manifest, _ = inspect(tmp_path)

    assert [error["file"] for error in manifest["errors"]] == ["a.py", "b.py"]
    assert [task["id"] for task in manifest["tasks"]] == ["c"]


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"plain__py": "x = 1\n"}, "no_tasks"),
        ({"plain__py": "import trigger_sdk\n"}, "no_tasks"),
        ({"trigger__toml": "name = \n"}, "bad_config"),
        ({"trigger__toml": "modules = 3\n"}, "bad_config"),
        ({"trigger__toml": 'modules = ["gone"]\n'}, "missing_module"),
        ({"trigger__toml": 'modules = ["json"]\n'}, "import_error"),
    ],
)
def test_folders_without_tasks_are_errors(tmp_path: Path, files: dict[str, str], code: str) -> None:
    write(tmp_path, **files)

    exit_code, manifest, _ = inspect(tmp_path)

    assert (exit_code, [error["code"] for error in manifest["errors"]]) == (1, [code])


def test_dependency_that_is_listed_but_not_installed_is_reported(tmp_path: Path) -> None:
    write(tmp_path, tasks__py="import trigger_sdk\nimport no_such_package\n", requirements__txt="no-such-package==1\n")

    _, manifest, _ = inspect(tmp_path)

    assert "requirements.txt lists it, but it is not installed" in manifest["errors"][0]["message"]


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    code, manifest, _ = inspect(tmp_path / "gone")

    assert (code, manifest["errors"][0]["code"]) == (1, "no_folder")


@pytest.mark.parametrize("folder", ["examples/orders", "benchmarks/tasks"])
def test_own_task_folders_pass_the_check(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["check", str(ROOT / folder)]) == 0

    assert "✔" in capsys.readouterr().out
