"""Programs for the kill matrix: a coordinator and a worker that die, or lose an answer, at a given point.

    python -m tests.reliability.kill_points coordinator FOLDER PORT
    python -m tests.reliability.kill_points worker FOLDER

A point is a statement of the coordinator (`save_checkpoints c3`, `claim COMMIT`) or a request of the worker
(`checkpoints c3`, `finishes`), before it is sent or after its answer has come. What is armed stands in FOLDER/fuses,
first things first; each point that was hit leaves a line in FOLDER/hits. With FOLDER/plant the next life has a bug.

The code under test is the production code: only the libraries' calls below it are watched (`kill_watch`). A process
that died is forked again from one that has loaded everything and never ran anything, so that a life costs
milliseconds; each life's end leaves a line in FOLDER/lives.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

BEFORE, AFTER, LOST = "before", "after", "lost"
KILL_SELF, KILL_TASK, STOP_POSTGRES, LOSE_ANSWER = "kill", "kill task", "stop postgres", "lose answer"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Fuse:
    """Burns at the n-th time that the point is passed while there is a run, counted in one life from its arming."""

    point: str
    when: str
    action: str = KILL_SELF
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.action} {self.when} {self.point}" + (f" #{self.nth}" if self.nth > 1 else "")


def write_fuses(folder: Path, fuses: list[Fuse]) -> None:
    """Replaces what is armed; a new file each time, by which a reader sees that counting begins anew."""
    new = folder / f"fuses.{os.getpid()}"
    new.write_text(json.dumps([asdict(fuse) for fuse in fuses]))
    new.rename(folder / "fuses")


def read_fuses(folder: Path) -> list[Fuse]:
    return [Fuse(**fields) for fields in json.loads((folder / "fuses").read_text())]


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


class Points:
    """What a program passes: noted in FOLDER/trace where that file exists, and compared with what is armed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._mark: tuple[int, int] = (0, 0)
        self._armed: list[Fuse] = []
        self._count = 0

    @property
    def is_planted(self) -> bool:
        return (self._folder / "plant").exists()

    def is_next(self, point: str, when: str) -> bool:
        """Whether the armed fuse burns when this is passed the next time."""
        with self._lock:
            self._reload()
            fuse = self._armed[0] if self._armed else None
            return fuse is not None and (fuse.point, fuse.when, fuse.nth) == (point, when, self._count + 1)

    def passed(self, point: str, when: str) -> bool:
        """True where the answer is to be lost; does not return where the process is to die."""
        with self._lock:
            if (self._folder / "trace").exists():
                append(self._folder / "trace", f"{when}\t{point}")
            burns = self.is_next(point, when)
            if self._armed and (self._armed[0].point, self._armed[0].when) == (point, when):
                self._count += 1
            return burns and self._burn()

    def _reload(self) -> None:
        status = (self._folder / "fuses").stat()
        mark = (status.st_ino, status.st_mtime_ns)
        if mark != self._mark:
            self._mark, self._armed, self._count = mark, read_fuses(self._folder), 0

    def _burn(self) -> bool:
        fuse, *rest = self._armed
        write_fuses(self._folder, rest)
        append(self._folder / "hits", json.dumps(asdict(fuse)))
        if fuse.action == KILL_SELF:
            os.kill(os.getpid(), signal.SIGKILL)
        elif fuse.action == KILL_TASK:
            os.kill(_pid_of_task(), signal.SIGKILL)
        elif fuse.action == STOP_POSTGRES:
            _stop_postgres()
        return fuse.action == LOSE_ANSWER


def _pid_of_task() -> int:
    """The process that wrote last into a ledger."""
    newest = max(Path(os.environ["KILL_LEDGER"]).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return int(newest.read_text().splitlines()[-1].split()[1])


def _stop_postgres() -> None:
    """What `pg_ctl stop -m immediate` does; returns when the server is gone."""
    import psutil

    pid = int((Path(os.environ["KILL_POSTGRES"]) / "postmaster.pid").read_text().splitlines()[0])
    server = psutil.Process(pid)
    server.send_signal(signal.SIGQUIT)
    server.wait(20)


def keep_alive(folder: Path, serve: Callable[[], object]) -> None:
    """Runs `serve` in a forked process, and again whenever that was killed, until SIGTERM; another end is a fault."""
    state = {"child": 0, "is_stopping": False}

    def stop(*_: object) -> None:
        state["is_stopping"] = True
        if state["child"]:
            os.kill(state["child"], signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    while not state["is_stopping"]:
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve()
            sys.stdout.flush()
            os._exit(0)
        state["child"] = child
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        state["child"] = 0
        if not state["is_stopping"]:
            append(folder / "lives", str(code))
            if code != -signal.SIGKILL:
                sys.exit(f"a life ended with {code}")


def main(program: str, folder: Path, *arguments: str) -> None:
    from tests.reliability import kill_watch

    points = Points(folder)
    is_coordinator = program == "coordinator"
    keep_alive(
        folder, kill_watch.coordinator(points, int(arguments[0])) if is_coordinator else kill_watch.worker(points)
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
