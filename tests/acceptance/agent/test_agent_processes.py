"""What the agent does to processes: ends what a run leaves behind, tells memory kills apart, leaves others alone."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import SDK_FOLDER, folder_with
from tests.acceptance.agent.proxy import Proxy, process_is_gone, wait_for

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
            wait_for(lambda folder=folder: remove_group(folder), "the control group is empty")

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
"""A copy-on-write root with its own folders where a container has them, so that nothing of the machine is wiped."""


def test_process_one_of_a_container_wipes_it_between_runs(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    environment = {
        **os.environ,
        "COW": str(tmp_path / "root"),
        "SOCKET": str(proxy.folder),
        "TASKS": str(folder_with(tmp_path / "tasks", LITTER)),
        "SDK": str(SDK_FOLDER),
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
