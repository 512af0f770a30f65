"""What a run has to itself, and what it cannot reach of the agent: secret, descriptors, memory."""

import json
from pathlib import Path

from tests.acceptance.agent.conftest import AsNobody, folder_with
from tests.acceptance.agent.proxy import Proxy


def test_run_has_its_own_place(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import random, tempfile
tempfile.gettempdir()
@task(id="where")
def where():
    with open("/proc/self/oom_score_adj") as file:
        score = int(file.read())
    return [os.getcwd(), os.environ["HOME"], tempfile.gettempdir(), os.getsid(0) == os.getpid(), score,
            os.environ["SHOP"], random.random(), sys.stdin.read()]
"""
    proxy.variables = {"SHOP": "north"}
    proxy.ready(folder_with(tmp_path / "tasks", source))
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()

    results = [json.loads(proxy.run("where", folder=folder).wait("completed").body) for folder in folders]

    for folder, result in zip(folders, results, strict=True):
        assert result[:3] == [str(folder)] * 3
        assert result[3:6] == [True, 1000, "north"]
    assert results[0][6] != results[1][6], "both runs drew the same random number"


def test_child_does_not_hold_the_agents_secret_or_descriptors(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import gc
@task(id="look")
def look():
    held = [o for o in gc.get_objects() if type(o).__name__ in ("Agent", "Control", "Runs", "InChild")]
    frames, frame = [], sys._getframe()
    while frame:
        frames.append(frame.f_code.co_name)
        frame = frame.f_back
    targets = sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in os.listdir("/proc/self/fd")
                     if os.path.exists(f"/proc/self/fd/{n}"))
    return [len(held), "_answer" in frames, targets]
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    held, is_in_loop, targets = json.loads(proxy.run("look", folder=tmp_path).wait("completed").body)

    assert held == 0
    assert not is_in_loop
    # Its own connection, the two outputs, the reasons for a stop; plus /dev/null and the listing itself.
    assert targets.count("socket") == 1
    assert targets.count("pipe") == 3
    assert "anon_inode" not in targets


def test_childs_memory_does_not_hold_the_agents_secret(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import re
@task(id="search")
def search(plant: bool):
    planted = "-t3rc3s"[::-1] * 3 if plant else ""
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            bounds, rights = line.split()[:2]
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if not rights.startswith("rw"):
                continue
            memory.seek(start)
            found += len(re.findall(rb"(?:s3cr3t-){3}", memory.read(end - start)))
    return found, len(planted)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    found = [
        json.loads(proxy.run("search", b'{"plant": %s}' % plant, folder=tmp_path).wait("completed").body)["value"][0]
        for plant in (b"false", b"true")
    ]

    assert found[0] == 0
    assert found[1] > 0, "the search does not even find what lies there"


def test_another_process_of_the_same_user_cannot_read_the_agents_memory(proxy: Proxy, as_nobody: AsNobody) -> None:
    source = """
@task(id="look")
def look():
    found = []
    for pid in (os.getppid(), os.getpid()):
        try:
            open(f"/proc/{pid}/environ").close()
            found.append("open")
        except PermissionError:
            found.append("closed")
    return [os.getuid(), *found]
"""
    tasks = folder_with(proxy.folder / "tasks", source)
    folder = proxy.folder / "run"
    folder.mkdir()
    command = as_nobody(proxy.folder)
    proxy.start_agent(
        tasks,
        command=[*command.start, "serve", "--socket-dir", str(proxy.folder), "--tasks", str(tasks)],
        **command.options,
    )
    proxy.expect("ready")

    attempt = proxy.run("look", folder=folder)

    assert json.loads(attempt.wait("completed").body) == [command.options["user"], "closed", "open"]
