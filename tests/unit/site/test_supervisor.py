"""The supervisor with real processes: what they say, how they end, what a signal does, who is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from trigger_site.development.supervisor import ChildDiedError, StopRequestedError, Supervisor

DEADLINE_SECONDS = 60.0
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = Supervisor()
    yield made
    made.stop()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_is_prefixed_by_name_and_whole_lines(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('one'); print('t', end='', flush=True); print('wo'); sys.stderr.write('three')"
    child = supervisor.start("web", python(code), os.environ, is_one_shot=True)

    supervisor.run_until(lambda: not child.is_running, seconds=DEADLINE_SECONDS)

    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == ["web         | one", "web         | three", "web         | two"]


def test_child_that_dies_is_named_with_code_and_last_lines(supervisor: Supervisor) -> None:
    supervisor.start("worker", python("for n in range(30): print('line', n)\nraise SystemExit(7)"), os.environ)

    with pytest.raises(ChildDiedError) as caught:
        supervisor.run_until(lambda: False, seconds=DEADLINE_SECONDS)

    assert "worker ended with exit code 7" in str(caught.value)
    assert "line 29" in str(caught.value)
    assert "line 9\n" not in str(caught.value)


def test_child_killed_by_a_signal_is_named_with_it(supervisor: Supervisor) -> None:
    child = supervisor.start("web", python(SLEEPER), os.environ)
    supervisor.run_until(lambda: bool(child.last_lines), seconds=DEADLINE_SECONDS)

    child.process.kill()

    with pytest.raises(ChildDiedError, match="web was killed by SIGKILL"):
        supervisor.run_until(lambda: False, seconds=DEADLINE_SECONDS)


def test_children_stop_in_reverse_order_of_start(supervisor: Supervisor, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit()))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    children = [supervisor.start(name, python(code), os.environ) for name in ("web", "coordinator", "worker")]
    supervisor.run_until(lambda: all(child.last_lines for child in children), seconds=DEADLINE_SECONDS)

    supervisor.stop()

    said = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("bye")]
    assert said == ["worker", "coordinator", "web"]


def test_child_that_does_not_stop_is_killed_with_all_it_started(supervisor: Supervisor) -> None:
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {DEAF!r}]).pid, flush=True)\n{DEAF}"
    child = supervisor.start("worker", python(code), os.environ, seconds_to_stop=0.3)
    supervisor.run_until(lambda: len(child.last_lines) == 3, seconds=DEADLINE_SECONDS)
    grandchild = psutil.Process(int(next(line for line in child.last_lines if line.isdigit())))

    supervisor.stop()

    assert child.process.returncode == -signal.SIGKILL
    assert psutil.wait_procs([grandchild], timeout=5)[1] == []


def test_first_signal_asks_to_stop_and_a_second_kills(supervisor: Supervisor) -> None:
    supervisor.catch_signals()
    child = supervisor.start("worker", python(DEAF), os.environ, seconds_to_stop=DEADLINE_SECONDS)
    supervisor.run_until(lambda: bool(child.last_lines), seconds=DEADLINE_SECONDS)

    first = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -TERM {os.getpid()}"])
    with pytest.raises(StopRequestedError):
        supervisor.run_until(lambda: False, seconds=DEADLINE_SECONDS)
    first.wait()
    second = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -INT {os.getpid()}"])
    started = time.monotonic()
    supervisor.stop()
    second.wait()

    assert child.process.returncode == -signal.SIGKILL
    assert time.monotonic() - started < DEADLINE_SECONDS / 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_killed_supervisor_leaves_no_child() -> None:
    code = (
        "import os, sys\nfrom trigger_site.development.supervisor import Supervisor\n"
        "s = Supervisor()\n"
        f"children = [s.start('c', [sys.executable, '-c', {DEAF!r}], os.environ) for _ in range(3)]\n"
        "s.run_until(lambda: all(c.last_lines for c in children))\n"
        "print(*(c.process.pid for c in children), flush=True)\ns.run_until(lambda: False)"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = next(line for line in parent.stdout if line[0].isdigit())
        children = [psutil.Process(int(pid)) for pid in pids.split()]

        parent.kill()

    assert psutil.wait_procs(children, timeout=5)[1] == []
