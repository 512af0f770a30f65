"""Tells an out-of-memory kill from any other SIGKILL, by the control group's counter."""

from trigger_sdk.agent.system.processes import IS_LINUX

_COUNTER = "oom_kill"


class OutOfMemoryCounter:
    """Counts kills that no verdict has used yet, so that one kill never explains two deaths."""

    def __init__(self, file: str | None = None) -> None:
        self.file = file or _counter_file()
        self._used = self._read()

    def settle(self) -> None:
        """Forgets kills seen while nothing ran: they belong to processes that no verdict asks about."""
        self._used = self._read()

    def take(self) -> bool:
        """True if the kernel killed a process of this control group and no verdict has used that kill yet; uses it."""
        if self._read() <= self._used:
            return False
        self._used += 1
        return True

    def _read(self) -> int:
        if self.file is None:
            return 0
        with open(self.file) as file:
            for line in file:
                name, _, value = line.partition(" ")
                if name == _COUNTER:
                    return int(value)
        return 0


def _counter_file() -> str | None:
    """The control group file that has the counter for this process: version 2, else version 1, else none."""
    if not IS_LINUX:
        return None
    with open("/proc/self/cgroup") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in sorted(groups, key=lambda group: group[1] == ""):
        if "memory" in controllers.split(","):
            candidates = [f"/sys/fs/cgroup/memory{path}/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        elif controllers == "":
            candidates = [f"/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events"]
        else:
            continue
        for candidate in candidates:  # inside a container the mount shows the group itself, whatever its path
            if _has_counter(candidate):
                return candidate
    return None


def _has_counter(path: str) -> bool:
    try:
        with open(path) as file:
            return any(line.startswith(_COUNTER + " ") for line in file)
    except OSError:
        return False
