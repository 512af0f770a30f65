"""Tasks that the tests of the docker executor run inside containers: each reports what it finds there."""

import errno
import os
import signal
import socket
from typing import Any

from trigger_sdk import checkpoint, task

OUTSIDE = ("/var/run/docker.sock", "/run/docker.sock", "/host", "/work/.git")
SEARCHED = ("/trigger", "/work", "/tmp", "/run", "/etc", "/home", "/root")


@task(id="greet")
def greet(name: str) -> dict[str, str]:
    with open("note.txt", "w") as file:
        file.write(name)
    checkpoint("written", {"name": name})
    return {"greeting": f"Hello, {name}.", "folder": os.getcwd(), "pid": str(os.getpid())}


@task(id="look-around")
def look_around(secret_hash: str) -> dict[str, Any]:
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file)
    return {
        "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "user": os.path.expanduser("~"),
        "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
        "root_write": error_of(lambda: open("/left-behind", "w")),
        "sdk_write": error_of(lambda: open("/trigger/sdk/left-behind", "w")),
        "socket_folder_write": error_of(lambda: open("/trigger/socket/left-behind", "w")),
        "work_write": error_of(lambda: open("/work/note", "w").close()),
        "tmp_bytes": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
        "tmp_write": error_of(lambda: open("/tmp/note", "w").close()),
        "agent_memory": error_of(lambda: open("/proc/1/mem", "rb")),
        "agent_environment": error_of(lambda: open("/proc/1/environ", "rb").read()),
        "outside": [path for path in OUTSIDE if os.path.exists(path)],
        "environment": dict(os.environ),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "found_secret": find_secret(secret_hash),
    }


@task(id="fork-without-end")
def fork_without_end() -> int:
    for count in range(5000):
        try:
            if os.fork() == 0:
                signal.pause()
        except BlockingIOError:
            return count
    return -1


@task(id="listen")
def listen() -> str:
    with socket.create_server(("0.0.0.0", 9000)):
        address = socket.gethostbyname(socket.gethostname())
        checkpoint("listening", {"address": address})  # the test answers when it has seen enough
    return address


@task(id="reach")
def reach(address: str, port: int) -> str:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "reached"


@task(id="hoard")
def hoard(megabytes: int) -> int:
    return len(b"x" * (megabytes * 1024 * 1024))


def error_of(attempt: Any) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def find_secret(secret_hash: str) -> list[str]:
    """Files with a line whose hash is this one: the test cannot name the secret without giving it away."""
    from hashlib import sha256

    found = []
    for folder in SEARCHED:
        for current, _, files in os.walk(folder):
            for name in files:
                path = os.path.join(current, name)
                try:
                    with open(path, "rb") as file:
                        words = file.read(1_000_000).split()
                except OSError:
                    continue
                if any(sha256(word).hexdigest() == secret_hash for word in words):
                    found.append(path)
    return found
