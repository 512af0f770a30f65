"""What the agent does to processes: stops with a reason, ends what a run leaves behind, and leaves all others alone."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.agent.proxy import Proxy, process_is_gone, wait_for

HEAD = "from trigger_sdk import *\nfrom trigger_sdk import log\nimport os, subprocess, sys, time\n"

DAEMON = """
def daemonise():
    # Leaves session, group and parent, as a daemon does.
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
        os.closerange(0, 3)
        time.sleep(600)
        os._exit(0)
    os.wait()
    return int(os.read(read, 20))
"""


def folder_with(path: Path, source: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "tasks.py").write_text(HEAD + source)
    return path


STOPPABLE = """
@task(id="sleep")
def sleep():
    print("ready")
    try:
        time.sleep(60)
    except BaseException as error:
        log.info("raised", type=type(error).__name__)
        raise
    finally:
        log.info("cleaned up")

@task(id="read")
def read():
    import socket
    ours, theirs = socket.socketpair()
    print("ready")
    try:
        ours.recv(1)
    finally:
        log.info("cleaned up")

@task(id="sleep-async")
async def sleep_async():
    import asyncio
    print("ready")
    try:
        await asyncio.sleep(60)
    except RunCanceled as error:
        log.info("raised", type=type(error).__name__)
        await asyncio.sleep(0.01)
        raise
    finally:
        log.info("cleaned up")

@task(id="group-async")
async def group_async():
    import asyncio
    async def part():
        try:
            await asyncio.sleep(60)
        finally:
            log.info("part ended")
    async with asyncio.TaskGroup() as group:
        group.create_task(part())
        group.create_task(part())
        print("ready")

@task(id="stubborn")
def stubborn():
    print("ready")
    try:
        time.sleep(60)
    except RunTimedOut:
        print("caught")
    checkpoint("late")

@task(id="done-anyway")
def done_anyway():
    print("ready")
    try:
        time.sleep(60)
    except RunCanceled:
        return "done anyway"

@task(id="deaf")
def deaf():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready")
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("reason", "exception"),
    [("canceled", "RunCanceled"), ("timed_out", "RunTimedOut"), ("interrupted", "RunInterrupted")],
)
def test_stop_is_raised_with_its_reason_and_cleanup_runs(
    proxy: Proxy, tmp_path: Path, reason: str, exception: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, reason, 10)
    failed = attempt.wait("failed", 5)

    assert failed.header["stop_reason"] == reason
    assert failed.header["error"]["type"] == f"trigger_sdk.errors.{exception}"
    raised, cleaned = attempt.of("log")[1:]
    assert (raised.header["fields"], cleaned.header["message"]) == ({"type": exception}, "cleaned up")
    assert attempt.end().header["signal"] is None


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ("read", ["ready", "cleaned up"]),
        ("sleep-async", ["ready", "raised", "cleaned up"]),
        ("group-async", ["ready", "part ended", "part ended"]),
    ],
)
def test_stop_reaches_blocking_reads_and_awaits(proxy: Proxy, tmp_path: Path, task: str, lines: list[str]) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run(task, folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "canceled", 10)
    failed = attempt.wait("failed", 5)

    assert failed.header["stop_reason"] == "canceled"
    assert "RunCanceled" in json.dumps(failed.header["error"])
    assert attempt.lines() == lines


def test_checkpoint_after_a_caught_stop_raises_it_again(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("stubborn", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "timed_out", 10)
    failed = attempt.wait("failed", 5)

    assert failed.header["error"]["type"] == "trigger_sdk.errors.RunTimedOut"
    assert attempt.lines() == ["ready", "caught"]
    assert attempt.checkpoints == []


def test_stop_while_the_database_is_away_does_not_wait_for_it(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import asyncio
async def say_that_the_loop_runs():
    await asyncio.sleep(0.1)
    print("waiting")

@task(id="save")
async def save():
    asyncio.create_task(say_that_the_loop_runs())
    await checkpoint("first")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("save", folder=tmp_path, answer=lambda *_: None)
    attempt.wait("checkpoint")
    attempt.wait_line("waiting")

    proxy.stop(attempt, "interrupted", 20)
    failed = attempt.wait("failed", 5)

    assert failed.header["stop_reason"] == "interrupted"


def test_task_that_returns_in_spite_of_a_stop_has_completed(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("done-anyway", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "canceled", 10)

    assert attempt.wait("completed", 5).body == b'"done anyway"'


def test_task_that_does_not_react_is_killed_after_the_grace(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("deaf", folder=tmp_path)
    attempt.wait_line("ready")

    begin = time.monotonic()
    proxy.stop(attempt, "canceled", 0.5)
    exited = attempt.end()

    assert exited.header["signal"] == signal.SIGKILL
    assert exited.header["is_out_of_memory"] is False
    assert time.monotonic() - begin >= 0.5


def test_somebody_elses_sigterm_is_not_taken_for_a_stop(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")

    os.kill(attempt.wait("started").header["pid"], signal.SIGTERM)
    exited = attempt.end()

    assert exited.header["signal"] == signal.SIGTERM
    assert attempt.of("failed") == []


def test_stops_in_a_storm_of_output_never_break_a_frame(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="talk")
def talk():
    print("ready")
    while True:
        print("x" * 60_000)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    for _ in range(12):
        attempt = proxy.run("talk", folder=tmp_path)
        attempt.wait_line("ready")

        proxy.stop(attempt, "canceled", 10)

        assert attempt.wait("failed", 10).header["stop_reason"] == "canceled"
        attempt.end()


def test_ended_run_leaves_no_process_and_bystanders_live(proxy: Proxy, tmp_path: Path) -> None:
    source = (
        DAEMON
        + """
@task(id="litter")
def litter():
    child = subprocess.Popen(["sleep", "600"])
    return [daemonise(), child.pid]
"""
    )
    proxy.ready(folder_with(tmp_path / "tasks", source))
    bystander_file = Path("/tmp") / f"bystander-{os.getpid()}"
    bystander_file.write_text("mine")
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        attempt = proxy.run("litter", folder=tmp_path)
        attempt.end()

        left = json.loads(attempt.wait("completed").body)
        assert all(process_is_gone(pid) for pid in left)
        assert bystander.poll() is None
        assert bystander_file.read_text() == "mine"
    finally:
        bystander.kill()
        bystander.wait()
        bystander_file.unlink()


def test_parallel_runs_do_not_end_each_others_processes(proxy: Proxy, tmp_path: Path) -> None:
    source = (
        DAEMON
        + """
@task(id="work")
def work(seconds: float):
    pids = [daemonise(), subprocess.Popen(["sleep", "600"]).pid]
    log.info("started", pids=pids)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, 0)
    return pids
"""
    )
    proxy.ready(folder_with(tmp_path / "tasks", source))
    long = proxy.run("work", b'{"seconds": 2}', folder=tmp_path)
    long.wait_line("started")

    for _ in range(5):
        short = proxy.run("work", b'{"seconds": 0}', folder=tmp_path)
        short.end()
        assert all(process_is_gone(pid) for pid in json.loads(short.wait("completed").body))
    long.end()

    left = json.loads(long.wait("completed").body)
    assert all(process_is_gone(pid) for pid in left)


def test_processes_that_the_code_started_at_import_stay(proxy: Proxy, tmp_path: Path) -> None:
    source = """
helper = subprocess.Popen(["sleep", "600"])
@task(id="look")
def look():
    return helper.pid
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    for _ in range(2):
        attempt = proxy.run("look", folder=tmp_path)
        attempt.end()
        helper = int(attempt.wait("completed").body)
        assert not process_is_gone(helper)

    os.kill(helper, signal.SIGKILL)


def test_killed_agent_takes_its_children_along(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    attempt = next(iter(proxy.attempts.values()))

    process.kill()

    pid = attempt.wait("started").header["pid"]
    wait_for(lambda: process_is_gone(pid), "the child died with its agent", 5)


def test_lost_worker_ends_runs_after_three_seconds(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    pid = next(iter(proxy.attempts.values())).wait("started").header["pid"]

    begin = time.monotonic()
    proxy.cut()

    assert process.wait(10) == 3
    assert 2.5 < time.monotonic() - begin < 6
    assert process_is_gone(pid)


def test_worker_that_returns_finds_its_runs_alive(proxy: Proxy, tmp_path: Path) -> None:
    source = "@task(id='one')\ndef one():\n    time.sleep(0.5)\n    os.write(1, b'still here\\n')\n    time.sleep(60)\n"
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("one", folder=tmp_path)
    attempt.wait("begun")

    proxy.cut()
    proxy.listen()
    proxy.expect("ready")

    assert [hello.header["secret"] for hello in proxy.hellos] == [None, proxy.secret]
    attempt.wait_line("still here")
    assert len(attempt.of("started")) == 2
    proxy.stop(attempt, "canceled", 0)
    assert attempt.wait("exited").header["signal"] == signal.SIGKILL


def test_sigterm_ends_the_agent_and_its_runs(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    attempt = next(iter(proxy.attempts.values()))

    process.terminate()

    assert attempt.wait("exited").header["signal"] == signal.SIGKILL
    assert process.wait(5) == 0


def start_and_sleep(proxy: Proxy, tmp_path: Path) -> "subprocess.Popen[bytes]":
    process = proxy.start_agent(folder_with(tmp_path / "tasks", STOPPABLE))
    proxy.expect("ready")
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")
    return process


def limited_group(limit_bytes: int) -> tuple[Path, list[Path]]:
    """A control group with a memory limit, version 1 or 2; the folders to remove afterwards."""
    name = f"agent-test-{os.getpid()}"
    first = Path("/sys/fs/cgroup/memory")
    second = Path("/sys/fs/cgroup")
    try:
        if first.is_dir():
            group = first / name
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        else:
            group = second / name
            group.mkdir()
            (group / "memory.max").write_text(str(limit_bytes))
            (group / "memory.swap.max").write_text("0")
    except OSError as error:
        pytest.skip(f"this machine lets no test limit memory: {error}")
    return group, [group]


def test_out_of_memory_is_told_from_other_kills(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="eat")
def eat():
    held = []
    while True:
        held.append(b"x" * 1_000_000)

@task(id="die")
def die():
    os.kill(os.getpid(), 9)
"""
    group, folders = limited_group(100_000_000)
    tasks = folder_with(tmp_path / "tasks", source)
    enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    try:
        proxy.start_agent(tasks, prefix=["sh", "-c", enter, "sh"])
        proxy.expect("ready")

        eaten = proxy.run("eat", folder=tmp_path).end()
        died = proxy.run("die", folder=tmp_path).end()
        eaten_again = proxy.run("eat", folder=tmp_path).end()
    finally:
        proxy.close()
        for folder in folders:
            wait_for(lambda folder=folder: remove_group(folder), "the control group is empty", 5)

    verdicts = [(e.header["signal"], e.header["is_out_of_memory"]) for e in (eaten, died, eaten_again)]
    assert verdicts == [(9, True), (9, False), (9, True)]
    assert eaten.header["peak_memory_bytes"] > 50_000_000


def remove_group(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


OWN_ROOT = """
set -e
mkdir -p "$COW" && mount -t tmpfs tmpfs "$COW"
mkdir "$COW/upper" "$COW/work" "$COW/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$COW/upper,workdir=$COW/work" "$COW/root"
cd "$COW/root"
mkdir -p work mnt/socket mnt/tasks mnt/sdk
mount --bind "$SOCKET" mnt/socket
mount --bind "$TASKS" mnt/tasks
mount --bind "$SDK" mnt/sdk
mount --rbind /dev dev
for place in dev/shm tmp work; do mount -t tmpfs tmpfs $place; done
mount -t proc proc proc
echo kept > mnt/kept
exec chroot . "$@"
"""
"""A copy-on-write root with folders of its own where a container has them: whatever is wiped is not the machine's."""


def test_process_one_of_a_container_wipes_it_between_runs(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    environment = {
        **os.environ,
        "COW": str(tmp_path / "root"),
        "SOCKET": str(proxy.folder),
        "TASKS": str(folder_with(tmp_path / "tasks", LITTER)),
        "SDK": str(Path(__file__).parents[3] / "sdk" / "python"),
    }
    own_root = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", OWN_ROOT, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*own_root, "true"], env=environment, check=False).returncode:
        pytest.skip("this machine allows no namespaces with a root of their own (unshare, overlay)")
    code = "import sys; sys.path.insert(0, '/mnt/sdk'); from trigger_sdk.agent.__main__ import main; main(sys.argv[1:])"
    python = Path(os.path.realpath(proxy.python))
    proxy.isolation = "container"
    command = [
        *own_root,
        str(python),
        "-I",
        "-c",
        code,
        "serve",
        "--socket-dir",
        "/mnt/socket",
        "--tasks",
        "/mnt/tasks",
    ]
    proxy.start_agent(Path("/mnt/tasks"), command=command, env=environment)
    proxy.expect("ready")

    results = []
    for _ in range(2):
        attempt = proxy.run("litter")
        attempt.end()
        results.append(json.loads(attempt.wait("completed").body))

    for folder, places, processes, kept in results:
        assert folder == "/work"
        assert places == [[], [], []], "an earlier run left files"
        assert processes == 3, "only the agent, the run and its daemon; an earlier daemon is gone"
        assert kept == "kept\n"


LITTER = (
    DAEMON
    + """
@task(id="litter")
def litter():
    places = [sorted(os.listdir(place)) for place in ("/tmp", "/dev/shm", "/work")]
    daemonise()
    os.makedirs("/tmp/deep/er")
    for name in ("/tmp/deep/er/file", "/dev/shm/file", "file"):
        open(name, "w").close()
    os.symlink("/mnt", "link")
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    return [os.getcwd(), places, processes, open("/mnt/kept").read()]
"""
)
