"""`trigger check`: the lines, the exit codes, the JSON, and that no problem hides another."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import cli

SDK = Path(__file__).parents[4] / "sdk" / "python"
HEAD = "from trigger_sdk import checkpoint, step, task\n"
GOOD = "@task(id='{0}')\ndef {0}(x: int = 1):\n    return x\n"
LOSES = "@task(id='{0}')\ndef {0}():\n    client = object()\n    checkpoint('k')\n    return client\n"
HINTED = "@task(id='{0}')\ndef {0}():\n    x = 1\n    checkpoint('k', x=x)\n"


def write(folder: Path, **files: str) -> Path:
    """Writes files by name, with `__` for a dot; Python files begin with the import of the SDK's names."""
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_text((HEAD if path.suffix == ".py" else "") + text)
    return folder


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    code = cli.execute(["check", *map(str, arguments)])
    return code, capsys.readouterr().out.splitlines()


def check_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, lines = check(capsys, "--json", *arguments)
    assert len(lines) == 1
    return code, json.loads(lines[0])


def test_each_problem_of_each_task_of_each_file_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a__py=LOSES.format("one") + LOSES.format("two"), b__py="1 / 0\n", c__py=HINTED.format("three"))
    monkeypatch.chdir(tmp_path.parent)

    code, lines = check(capsys, tmp_path)

    name = tmp_path.name
    lost = "`client` is used on line {} but would not exist after resuming from 'k' (line {}): save it, or create it"
    unused = (
        "`x` is saved by 'k' and nothing after it reads `x`: leave it out, or save only what people want to see of it"
    )
    assert code == 1
    assert lines == [
        f"{name}/a.py:6:12: error: {lost.format(6, 5)} after the checkpoint [lost_name]",
        f"{name}/a.py:11:12: error: {lost.format(11, 10)} after the checkpoint [lost_name]",
        f"{name}/b.py:2:1: error: ZeroDivisionError: division by zero [import_error]",
        f"{name}/c.py:5:23: hint: {unused}, as an entry under another name [unused_value]",
        "1 task accepted, 3 errors, 1 hint.",
    ]


def test_problems_of_one_task_are_told_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = """
@task(id="a", memory="x")
def a(*args, x=[]):
    for i in x:
        step("k", print)
    y = 1
    checkpoint("m")
    return y
"""
    write(tmp_path, tasks__py=source)

    _, answer = check_json(capsys, tmp_path)

    assert [(p["line"], p["column"], p["code"]) for p in answer["problems"]] == [
        (3, 2, "task_option"),
        (4, 8, "parameter"),
        (4, 16, "mutable_default"),
        (6, 14, "step_key_in_loop"),
        (9, 12, "lost_name"),
    ]


def test_hints_alone_and_no_problems_are_not_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    write(first, tasks__py=HINTED.format("a"))
    write(other, tasks__py=GOOD.format("a"))

    hinted, good = check(capsys, first), check(capsys, other)

    assert (hinted[0], hinted[1][1:]) == (0, ["✔ a  k", "1 task accepted, 1 hint."])
    assert good == (0, ["✔ a  no checkpoints", "1 task accepted, no problems."])


def test_what_is_made_again_is_said_with_its_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "    c = print(1)  # trigger: again\n    checkpoint('k')\n    print(1)\n    checkpoint('m')\n    return c\n"
    write(tmp_path, tasks__py=f"@task(id='a')\ndef a():\n{body}")

    code, lines = check(capsys, tmp_path)

    assert code == 0
    assert lines[:2] == ["✔ a  k, m", "  `c` is made again by a resume from 'k', 'm': its effects repeat"]


def test_json_is_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, tasks__py=GOOD.format("a") + HINTED.format("b") + LOSES.format("c"))
    monkeypatch.chdir(tmp_path)

    code, answer = check_json(capsys, ".")

    assert code == 1
    assert set(answer) == {"problems", "tasks"}
    assert [set(problem) for problem in answer["problems"]] == [
        {"file", "line", "column", "severity", "code", "message"}
    ] * 2
    assert [(p["file"], p["severity"]) for p in answer["problems"]] == [("tasks.py", "hint"), ("tasks.py", "error")]
    assert [(task["id"], task["file"], len(task["segments"])) for task in answer["tasks"]] == [
        ("a", "tasks.py", 1),
        ("b", "tasks.py", 2),
    ]


def test_file_is_checked_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a__py=GOOD.format("a"), b__py=LOSES.format("b"))

    assert check(capsys, tmp_path / "a.py")[0] == 0
    assert check(capsys, tmp_path / "b.py")[0] == 1
    assert check(capsys, tmp_path / "a.py", tmp_path / "b.py")[0] == 1


def test_file_of_a_package_is_imported_from_the_package_s_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package, tasks__py="from . import names\n" + GOOD.format("a"), names__py="")

    assert check(capsys, package / "tasks.py") == (0, ["✔ a  no checkpoints", "1 task accepted, no problems."])


def test_file_below_a_configured_folder_is_imported_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs").mkdir()
    write(tmp_path, trigger__toml='modules = ["gone"]\n', names__py="")
    write(tmp_path / "jobs", tasks__py="import names\n" + GOOD.format("a"))

    assert check(capsys, tmp_path / "jobs" / "tasks.py")[0] == 0


def test_several_paths_are_one_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, tasks__py=GOOD.format("same") + LOSES.format(name))

    code, answer = check_json(capsys, tmp_path / "one", tmp_path / "two", tmp_path / "two" / "tasks.py")

    assert code == 1
    assert [problem["file"] for problem in answer["problems"]] == [
        str(tmp_path / "one" / "tasks.py"),
        str(tmp_path / "two" / "tasks.py"),
    ]
    assert [task["id"] for task in answer["tasks"]] == ["same", "same"]


@pytest.mark.parametrize("name", ["gone", "gone.py", "notes.txt"])
def test_wrong_path_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "notes.txt").write_text("")

    assert cli.execute(["check", str(tmp_path / name)]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert name in captured.err


def test_no_path_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.execute(["check"])

    assert end.value.code == 2


@pytest.mark.parametrize(
    ("source", "place", "code"),
    [
        ("x = (1,\n", (2, 5), "syntax_error"),
        ("\n  x = 1\n", (3, 2), "syntax_error"),
        ("import a_module_that_is_nowhere\n", (2, 1), "missing_dependency"),
        ("x = 1; y = x / 0\n", (2, 12), "import_error"),
        ("ü = 'ü'; y = 1 / 0\n", (2, 14), "import_error"),
        ("raise ValueError('one\\ntwo')\n", (2, 1), "import_error"),
        ("e = ValueError('one')\ne.add_note('a note')\nraise e\n", (4, 1), "import_error"),
        ("import ast; ast.parse('x y')\n", (2, 13), "import_error"),
        ("from trigger_sdk import Retry\nr = Retry(max_attempts=0)\n", (3, 5), "task_option"),
        ("class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd\n", (4, 1), "import_error"),
    ],
)
def test_module_that_fails_is_one_line_with_its_place_and_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, place: tuple[int, int], code: str
) -> None:
    write(tmp_path, tasks__py=source)

    assert cli.execute(["check", str(tmp_path)]) == 1

    out, err = capfd.readouterr()
    first, last = out.splitlines()
    assert re.match(rf"{tmp_path}/tasks\.py:{place[0]}:{place[1]}: error: .* \[{code}\]$", first)
    assert last == "0 tasks accepted, 1 error."
    assert "Traceback" not in err


def test_columns_count_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "    süß = object(); checkpoint('k', ß=[])\n    return 'äöü', süß\n"
    write(tmp_path, tasks__py="@task(id='a')\ndef a():\n" + body)

    _, answer = check_json(capsys, tmp_path)

    assert [(p["line"], p["column"]) for p in answer["problems"]] == [(5, 19)]


def test_what_the_code_prints_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, tasks__py="print('while importing')\n" + GOOD.format("a"))

    cli.execute(["check", "--json", str(tmp_path)])

    out, err = capfd.readouterr()
    assert json.loads(out)["problems"] == []
    assert err == "while importing\n"


def test_code_that_ends_the_process_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, tasks__py="import os\nos._exit(9)\n")

    code, lines = check(capsys, tmp_path)

    assert code == 1
    assert re.match(rf"{tmp_path}:1:1: error: .*exit code 9.* \[import_exit\]$", lines[0])


def test_file_that_ends_the_check_is_named_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    write(folder, tasks__py="import os\nos._exit(9)\n")
    monkeypatch.chdir(tmp_path)

    assert check(capsys, Path("inside/tasks.py"))[1][0].startswith("inside/tasks.py:1:1: error: ")


def test_thread_of_the_tasks_does_not_hold_up_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait, args=(60,)).start()\n"
    write(tmp_path, tasks__py=code + GOOD.format("a"))
    started = time.monotonic()

    assert check(capsys, tmp_path)[0] == 0
    assert time.monotonic() - started < 50


def test_control_characters_of_the_users_code_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, tasks__py="raise ValueError('\\x1b[2Jgone')\n")

    assert "\x1b" not in check(capsys, tmp_path)[1][0]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_colours_are_for_terminals(tmp_path: Path, is_terminal: bool) -> None:
    write(tmp_path, tasks__py=LOSES.format("a"))
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-c", "from trigger_sdk.cli import main; main()", "check", str(tmp_path)]

    with os.fdopen(ours if not is_terminal else os.dup(ours), "rb", buffering=0) as reader:
        subprocess.run(command, stdout=theirs, env=environment | {"PYTHONPATH": str(SDK)}, check=False)
        text = reader.read(65_536).decode()
    os.close(theirs)
    if is_terminal:
        os.close(ours)

    assert ("\x1b[31merror:\x1b[0m" in text) is is_terminal
    assert "error:" in text


def test_normal_import_raises_at_the_first_wrong_task(tmp_path: Path) -> None:
    write(tmp_path, wrong__py=LOSES.format("a") + LOSES.format("b"))
    command = [sys.executable, "-c", "import wrong"]
    paths = os.pathsep.join([str(SDK), str(tmp_path)])

    answer = subprocess.run(command, env={"PYTHONPATH": paths}, capture_output=True, text=True, check=False)

    assert answer.returncode == 1
    last = answer.stderr.splitlines()[-1]
    assert re.match(r"trigger_sdk\.errors\.RegistrationError: .*/wrong\.py:6:12: error: .* \[lost_name\]$", last)
