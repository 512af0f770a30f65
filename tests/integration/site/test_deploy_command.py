"""`manage.py deploy`, with the real inspection in a child process."""

import json
import os
import re
import textwrap
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.runs.models import Deployment, Task, TaskVersion
from tests.acceptance.installation import until
from trigger_site import inspection

pytestmark = pytest.mark.django_db

GOOD = """
    from trigger_sdk import checkpoint, task

    @task(id="process-order", max_concurrency=20)
    def process_order(order_id: str):
        order = {"id": order_id}
        checkpoint("order-fetched", {"order": order})
        return order
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "orders"
    root.mkdir()
    write(root, GOOD)
    return root


def write(folder: Path, code: str) -> None:
    (folder / "tasks.py").write_text(textwrap.dedent(code).lstrip())


def deploy(folder: Path, *options: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = StringIO(), StringIO()
    try:
        call_command("deploy", str(folder), *options, stdout=out, stderr=err)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_folder_becomes_a_deployment(folder: Path) -> None:
    code, out, err = deploy(folder)

    assert (code, err) == (0, "")
    assert out == "Deployed orders v1: process-order.\n"
    version = TaskVersion.objects.get()
    assert (version.file, version.line) == ("tasks.py", 4)
    assert version.options["max_concurrency"] == 20
    assert version.payload_schema["properties"]["order_id"]["type"] == "string"
    assert [point["key"] for point in version.resume_points] == ["order-fetched"]


def test_unchanged_says_so_and_json_has_the_facts(folder: Path) -> None:
    deploy(folder)

    assert deploy(folder)[1] == "orders v1 is unchanged.\n"
    code, out, _ = deploy(folder, "--json")

    deployment = Deployment.objects.get()
    assert code == 0
    assert json.loads(out) == {
        "deployment": deployment.public_id,
        "task_set": "orders",
        "version": 1,
        "is_new": False,
        "tasks": ["process-order"],
        "retired": [],
        "hints": [],
    }


@pytest.mark.parametrize(
    ("code", "place", "word"),
    [
        ("import trigger_sdk\n\nimport no_such_module\n", "3:1", "no_such_module"),
        ("import trigger_sdk\n\ndef broken(:\n", "3:12", "syntax_error"),
        ("import trigger_sdk\n\nraise RuntimeError('no luck')\n", "3:1", "no luck"),
        ("import trigger_sdk\n", "1:1", "no_tasks"),
    ],
)
def test_a_folder_that_does_not_import_is_refused_and_the_old_deployment_stays(
    folder: Path, code: str, place: str, word: str
) -> None:
    deploy(folder)
    old = Task.objects.get().deployment
    write(folder, code)

    exit_code, out, err = deploy(folder)

    assert (exit_code, out) == (1, "")
    assert word in err
    assert err.endswith("Nothing was deployed.\n")
    if word != "no_tasks":
        assert err.startswith(f"{folder}/tasks.py:{place}: ")
    assert Task.objects.get().deployment == old
    assert Deployment.objects.count() == 1


def test_a_checkpoint_that_could_not_resume_is_refused_with_its_line(folder: Path) -> None:
    write(folder, GOOD.replace('{"order": order}', "{}"))

    exit_code, out, _ = deploy(folder, "--json")

    finding = json.loads(out)["errors"][0]
    assert exit_code == 1
    assert finding["file"] == str(folder / "tasks.py")
    assert finding["line"] == 7
    assert re.match(r"error: `order` is used on line 7 .* \[lost_name\]$", finding["message"])


def test_hints_are_shown_and_stop_nothing(folder: Path) -> None:
    write(folder, GOOD.replace("return order", "return None"))

    exit_code, out, err = deploy(folder)
    rows = json.loads(deploy(folder, "--json")[1])["hints"]

    assert (exit_code, out) == (0, "Deployed orders v1: process-order.\n")
    assert re.match(rf"{folder}/tasks.py:\d+:\d+: hint: `order` is saved by .* \[unused_value\]\n$", err)
    assert [(row["severity"], row["code"]) for row in rows] == [("hint", "unused_value")]


def test_user_code_sees_no_credentials_and_not_the_folder_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIGGER_SECRET_KEY", "secret-1")
    monkeypatch.setenv("PGPASSWORD", "secret-2")
    seen = tmp_path / "seen.json"
    write(
        folder,
        f"""
        import json, os, sys
        from trigger_sdk import task
        open({str(seen)!r}, "w").write(json.dumps([dict(os.environ), sys.path, os.getcwd(), __file__]))

        @task(id="noop")
        def noop():
            return None
        """,
    )

    assert deploy(folder)[0] == 0

    environment, path, cwd, file = json.loads(seen.read_text())
    assert set(environment) <= {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "LC_CTYPE"}
    assert not any("django" in entry for entry in path)
    assert str(folder) not in (cwd, os.path.dirname(file))
    assert os.path.basename(cwd) == "orders"


def test_code_that_hangs_at_import_is_killed_with_what_it_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inspection, "INSPECT_SECONDS", 6)
    pid_file = tmp_path / "pid"
    write(
        folder,
        f"""
        import subprocess, time, trigger_sdk
        open({str(pid_file)!r}, "w").write(str(subprocess.Popen(["sleep", "300"]).pid))
        time.sleep(300)
        """,
    )

    exit_code, _, err = deploy(folder)

    assert exit_code == 1
    assert "it took over 6 seconds" in err
    # A killed process may take a moment to be gone.
    until(lambda: not is_running(int(pid_file.read_text())), "its child is gone")


def test_code_that_ends_the_process_is_reported(folder: Path) -> None:
    write(folder, "import os, sys, trigger_sdk\nsys.stderr.write('going\\n')\nsys.stderr.flush()\nos._exit(9)\n")

    exit_code, _, err = deploy(folder)

    assert exit_code == 1
    assert "exit code 9" in err
    assert "going" in err


def test_what_task_code_prints_does_not_disturb(folder: Path) -> None:
    write(folder, GOOD + '    print("hello from the module")\n'.replace("    print", "\n    print"))

    assert deploy(folder)[0] == 0


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    exit_code, _, err = deploy(tmp_path / "nothing")

    assert exit_code == 1
    assert "is not a folder" in err


def is_running(pid: int) -> bool:
    """Whether the process lives; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "manifest",
    ["5", '{"name": "orders"}', '{"name": "orders", "tasks": [], "errors": [{}], "hints": []}', "[" * 100_000],
)
def test_a_process_that_prints_something_else_than_a_manifest_deploys_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], manifest: str
) -> None:
    write(
        folder,
        f"""
        import os, trigger_sdk

        for number in range(3, 10):  # the answer's file is among them
            try:
                os.write(number, {manifest!r}.encode())
            except OSError:
                continue
        os._exit(0)
        """,
    )

    with pytest.raises(SystemExit):
        call_command("deploy", str(folder))

    assert "The tasks could not be read: the process ended with exit code 0" in capsys.readouterr().err
    assert not Deployment.objects.exists()
