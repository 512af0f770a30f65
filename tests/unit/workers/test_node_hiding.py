"""The worker's token in its environment and memory: out of the first, and the second closed to others of its user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.workers.node.hiding import TOKEN, TOKEN_DESCRIPTOR, hand_over, take_over

ROOT = Path(__file__).resolve().parents[3]
SECRET = "a-token-of-forty-characters-or-so-0123456"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_token_goes_through_a_pipe_and_nothing_else_changes() -> None:
    handed = hand_over({TOKEN: SECRET, "PATH": "/bin"})
    taken = take_over(handed)

    assert SECRET not in handed.values()
    assert taken == {TOKEN: SECRET, "PATH": "/bin"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(int(handed[TOKEN_DESCRIPTOR]))


@pytest.mark.parametrize("environment", [{"PATH": "/bin"}, {TOKEN: ""}, {TOKEN: "x" * 100_000}])
def test_what_is_no_token_is_left_for_the_worker_to_refuse(environment: dict[str, str]) -> None:
    assert take_over(hand_over(environment)) == environment


@pytest.mark.parametrize("command", [["-m", "apps.workers.node"], ["manage.py", "runworker"]])
def test_worker_runs_without_its_token_in_its_environment(tmp_path: Path, command: list[str]) -> None:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/sdk/python", TOKEN: SECRET,
        "TRIGGER_COORDINATOR_URL": "http://127.0.0.1:9", "TRIGGER_WORKER_DIR": str(tmp_path),
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, *command, "--executor", "process"], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    ) as worker:
        try:
            assert worker.stderr is not None
            # It tries to reach its coordinator: it has read its configuration, the token included.
            said = worker.stderr.readline()
            found = environment_of(worker.pid)
        finally:
            worker.kill()

    assert b"worker.register" in said
    assert TOKEN_DESCRIPTOR.encode() in found
    assert SECRET.encode() not in found


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


UNPRIVILEGED = """
import os, signal, sys
sys.path[:0] = [{root!r}, {sdk!r}]
from apps.workers.node.hiding import hide
from trigger_sdk.agent.system import processes
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    processes.set_dumpable(is_dumpable=True)

def is_readable(pid):
    try:
        open(f"/proc/{{pid}}/environ", "rb").close()
        open(f"/proc/{{pid}}/mem", "rb").close()
    except PermissionError:
        return False
    return True

def sleeper(prepare):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        prepare()
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    return pid

open_one, hidden_one = sleeper(lambda: None), sleeper(hide)
print(is_readable(open_one), is_readable(hidden_one))
for pid in (open_one, hidden_one):
    os.kill(pid, signal.SIGKILL)
"""


def test_hidden_process_of_an_ordinary_user_cannot_be_read_by_that_user() -> None:
    code = UNPRIVILEGED.format(root=str(ROOT), sdk=str(ROOT / "sdk" / "python"))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout.split() == ["True", "False"], done.stderr
