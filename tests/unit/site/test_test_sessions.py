"""What killed test sessions leave goes when the next begins; a reserved port belongs to one process."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.distribution import FOLDERS, TOGETHER
from tests.ports import FIRST, LAST, reserve_port

ROOT = Path(__file__).resolve().parents[3]
BEGIN = "from tests.session import session_dir; print(session_dir(), flush=True)"
LEAVE_A_CHILD = f"{BEGIN}; import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
WAIT = "; import sys; sys.stdin.read()"


def begin(code: str, root: Path) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRIGGER_"))}
    return subprocess.Popen(
        [sys.executable, "-c", code + WAIT], cwd=ROOT, env=kept | {"TMPDIR": str(root)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the environment of other processes")
def test_next_session_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    with begin(LEAVE_A_CHILD, tmp_path) as killed, begin(BEGIN, tmp_path) as living:
        folder, child, other = Path(line_of(killed)), psutil.Process(int(line_of(killed))), Path(line_of(living))
        killed.kill()
        killed.wait()
        assert (folder.exists(), child.is_running()) == (True, True)

        with begin(BEGIN, tmp_path) as following:
            line_of(following)

        assert (folder.exists(), other.exists()) == (False, True)
        assert psutil.wait_procs([child], timeout=60)[1] == []
        living.communicate("")


def test_a_reserved_port_is_free_for_a_server_and_for_nobody_elses_reservation() -> None:
    ports = {reserve_port() for _ in range(50)}
    code = "from tests.ports import reserve_port; print(*(reserve_port() for _ in range(900)))"

    others = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert len(ports) == 50
    assert all(FIRST <= port <= LAST for port in ports)
    assert ports.isdisjoint(map(int, others.split()))


def test_what_the_distribution_names_exists() -> None:
    assert [path for path in TOGETHER if not (ROOT / path).exists()] == []
    assert {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))} == set(FOLDERS)
