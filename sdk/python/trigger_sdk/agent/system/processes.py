"""The agent's calls to the operating system about processes: death signals, adopting orphans, ending them.

Owns no policy: the caller says which processes stay. All of it is Linux; elsewhere the calls do nothing, which
`IS_LINUX` tells.
"""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Collection

IS_LINUX = sys.platform == "linux"

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36

# From <linux/capability.h>.
_READING_OTHERS = (19, 21, 38)
"""CAP_SYS_PTRACE, and CAP_SYS_ADMIN and CAP_PERFMON, which newer kernels accept for maps and environment as well."""
_CAPABILITY_VERSION_3 = 0x20080522

EXIT_ORPHANED = 73
"""The exit code of a child whose agent died before the child could ask to die with it."""


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_ORPHANED)


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(*, is_dumpable: bool) -> None:
    """If not dumpable, no other process of the same user can read this one's memory or environment."""
    _prctl(_PR_SET_DUMPABLE, int(is_dumpable))


def give_up_tracing() -> None:
    """Drops, for this process and all it starts, the capabilities that let root read other processes' memory.

    For users other than root there is nothing to drop; a missing capability is not an error.
    """
    if not IS_LINUX or os.geteuid() != 0:
        return
    for capability in _READING_OTHERS:
        with contextlib.suppress(PermissionError):  # without CAP_SETPCAP it stays in what a started program may get
            _prctl(_PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of the lower 32, then of the upper ones
    if _c_library().capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for capability in _READING_OTHERS:
        half, bit = divmod(capability, 32)
        for place in range(3):
            sets[half * 3 + place] &= ~(1 << bit)
    if _c_library().capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def offer_to_out_of_memory_killer() -> None:
    """Makes this process the kernel's first choice to kill, so that the agent survives and can say what happened."""
    if IS_LINUX:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(file, b"1000")
        os.close(file)


def children() -> list[int]:
    """The process ids of this process's children, adopted ones and zombies included."""
    if not IS_LINUX:
        return []
    try:
        return [
            int(pid)
            for thread in os.listdir("/proc/self/task")
            for pid in _read(f"/proc/self/task/{thread}/children").split()
        ]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return _children_by_scan()


def end_children_except(kept: Collection[int], *, deadline: float) -> list[int]:
    """Kills and reaps all children except `kept`, and what they leave behind, until `deadline` (monotonic).

    Killing a child hands its own children to this process (see `adopt_orphans`), so the loop reaches whole trees.
    Returns the ids of those that did not die in time.
    """
    while strays := [pid for pid in children() if pid not in kept]:
        for pid in strays:
            end_tree(pid)
        remaining = [pid for pid in strays if not _reaped(pid)]
        if remaining:
            if time.monotonic() > deadline:
                return remaining
            time.sleep(0.0005)
    return []


def end_tree(pid: int) -> None:
    """Kills a child that has not been reaped yet, with its process group if it leads one."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it leads no group, is gone, or now belongs to another user: the caller sees that it remains


def flush_native_output() -> None:
    """Writes out what C code has left in the C library's own buffers, which `os._exit` would drop."""
    _c_library().fflush(None)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _children_by_scan() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent_of(name) == me]


def _parent_of(pid: str) -> int | None:
    try:
        # The command's name is in parentheses and may itself contain any character.
        return int(_read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _read(path: str) -> str:
    """Uses bare system calls: this runs after each run, and `open` makes twice as many calls."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while part := os.read(file, 16 * 1024):
            data += part
    finally:
        os.close(file)
    return data.decode(errors="replace")


def _prctl(option: int, value: int) -> None:
    if IS_LINUX and _c_library().prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


@functools.cache
def _c_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return library
