"""A task that reads all it can of the processes around it, and one that leaves a daemon behind."""

import os
import subprocess
import sys
import time

from trigger_sdk import task

MASK = 0x5A
MEMORY_MAX_BYTES = 400_000_000
"""Of one process; more is no secret of a small one."""


@task(id="searches", max_duration=300)
def searches(secrets: dict[str, str], pids: list[int]) -> dict[str, object]:
    """Where the secrets stand, by process; they come masked, so that not every copy of this payload is a find."""
    wanted = {name: bytes(byte ^ MASK for byte in bytes.fromhex(text)) for name, text in secrets.items()}
    searched, found = 0, []
    others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
    for pid in sorted(others | set(pids)):
        for place, data in parts_of(pid):
            searched += 1
            found += [f"{name} in {place} of {pid}" for name, secret in wanted.items() if secret in data]
    return {"found": found, "searched": searched, "found_in_own_child": found_in_own_child(wanted)}


def found_in_own_child(wanted: dict[str, bytes]) -> list[str]:
    environment = {**os.environ, **{f"OWN_{name}": secret.decode() for name, secret in wanted.items()}}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        found = {n for _, data in parts_of(child.pid) for n, secret in wanted.items() if secret in data}
        child.kill()
    return sorted(found)


def parts_of(pid: int):
    for name in ("environ", "cmdline"):
        yield from read(pid, name, f"/proc/{pid}/{name}")
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        descriptors = []
    for descriptor in descriptors:
        path = f"/proc/{pid}/fd/{descriptor}"
        try:
            target = os.readlink(path)
        except OSError:
            continue
        if os.path.isfile(path) and target.startswith("/") and os.path.getsize(path) < 1_000_000:
            yield from read(pid, target, path)
    yield from memory_of(pid)


def read(pid: int, name: str, path: str):
    try:
        with open(path, "rb") as file:
            yield name, file.read(1_000_000)
    except OSError:
        return


def memory_of(pid: int):
    left = MEMORY_MAX_BYTES
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                area, flags = line.split()[:2]
                start, end = (int(text, 16) for text in area.split("-"))
                if not flags.startswith("rw") or end - start > left:
                    continue
                left -= end - start
                try:
                    memory.seek(start)
                    yield f"memory at {area}", memory.read(end - start)
                except (OSError, ValueError, OverflowError):
                    continue
    except OSError:
        return


@task(id="daemonises", max_duration=300)
def daemonises() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("daemon", os.getpid(), flush=True)
            for descriptor in range(3, 100):
                try:
                    os.close(descriptor)
                except OSError:
                    continue
            time.sleep(600)
        os._exit(0)
    time.sleep(300)
