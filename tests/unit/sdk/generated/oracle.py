"""The judge of generated functions: whatever the check accepts must resume as if nothing had happened.

The reference is the function run once without a crash. An attempt is killed before every effect, and before and after
the commit of every checkpoint; the next one starts from the stored bytes alone, in a world where the function's globals
and outer variables are new. Every later attempt must meet these rules:
- its effects are the reference's after the resume point, preceded by those of the headers that run again (`tree.py`),
  value for value; if it is killed too, a prefix of these;
- what it stores is, byte for byte, what the reference stores at the same key;
- its end (output or exception) is the reference's.

The reference itself must do what plain Python does with a `checkpoint` that does nothing. Only here does aliasing
matter: saving separates two names of one object, and the contract does not promise that they stay together. So programs
that give an object two names (`has_aliases`) are not compared with plain Python. Like all others, they are compared
with themselves: aliases end at the same checkpoint, with or without a crash after it. No object that outlives a
checkpoint without being restored (a context manager, a default of a nested function) keeps a reference to a list or
dict of the function: the contract calls that aliasing, and then the first run and the resumed one may differ.
"""

import asyncio
import linecache
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trigger_sdk.errors import RegistrationError, TriggerError
from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.stored import StoredCheckpoint
from trigger_sdk.tasks import Task, registry
from trigger_sdk.values import codec

from tests.unit.sdk.generated import surroundings
from tests.unit.sdk.generated.statements import SAVEABLE
from tests.unit.sdk.generated.surroundings import CrashError, Ledger
from tests.unit.sdk.generated.tree import Program, Site

PAYLOAD = b'{"p":1,"q":[0,1]}'
End = tuple[str, str]
"""("output", its text) or (the exception's name, its message)."""


class DisagreementError(AssertionError):
    """A function that the check accepted did something different when it was resumed."""


class Attempt(NamedTuple):
    """`end` is None if the attempt was killed; `marks` has the length of the trace at each stored key."""

    end: End | None
    ledger: Ledger
    stored: list[StoredCheckpoint]
    marks: dict[str, int]

    @property
    def trace(self) -> list[tuple[int, str]]:
        return self.ledger.trace


class _Runtime:
    """Stores in memory; the process may be killed before and after the commit."""

    run_id = idempotency_scope = "run_generated"
    attempt_number = 1

    def __init__(self, ledger: Ledger, stored: Sequence[StoredCheckpoint]) -> None:
        self.ledger = ledger
        self.stored = list(stored)
        self.marks: dict[str, int] = {}

    def save_checkpoint(
        self, key: str, data: bytes, binds: list[str], carried: bytes | None, *_: Any, **__: Any
    ) -> None:
        self.ledger.tick()
        self.stored.append(StoredCheckpoint(key, len(self.stored), data, tuple(binds), carried=carried))
        self.marks[key] = len(self.ledger.trace)
        self.ledger.tick()

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

    def main_coroutine(self, coroutine: Any) -> Any:
        return coroutine


class Loaded(NamedTuple):
    """A program that the check has accepted."""

    program: Program
    task: Task
    scope: dict[str, Any]


def load(program: Program) -> Loaded:
    """Registers the program's function; RegistrationError or SyntaxError if it is refused."""
    text = program.text
    file = f"<program {program.name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    registry.pop("t", None)
    scope: dict[str, Any] = {"__name__": "generated"}
    exec(compile(text, file, "exec"), scope)
    return Loaded(program, registry["t"], scope)


def attempt(loaded: Loaded, stored: Sequence[StoredCheckpoint] = (), left: int | None = None) -> Attempt:
    """One attempt in a new world, killed when `left` ticks are used up."""
    _renew(loaded.scope)
    ledger = Ledger(left)
    surroundings.begin(ledger)
    runtime = _Runtime(ledger, stored)
    end = _end(lambda: run_task(loaded.task, PAYLOAD, list(stored), runtime))  # type: ignore[arg-type]
    return Attempt(None if ledger.is_dead else end, ledger, runtime.stored, runtime.marks)


def _renew(scope: dict[str, Any]) -> None:
    scope["G"] = 0
    function = scope["t"]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name == "N":
            cell.cell_contents = 0


def _end(call: Callable[[], bytes]) -> End:
    try:
        return "output", call().decode()
    except (Exception, CrashError) as error:
        # Exceptions of a group look the same in every process; objects shown by address do not.
        return type(error).__name__, re.sub(r"0x[0-9a-f]+", "0x", str(error))


def plain(program: Program) -> tuple[End, list[tuple[int, str]]]:
    """End and effects of the program in plain Python."""

    async def nothing(*_: Any, **__: Any) -> None: ...

    scope: dict[str, Any] = {"__name__": "plain"}
    exec(compile(program.text.replace("    @task('t')\n", ""), "<plain>", "exec"), scope)
    scope["checkpoint"] = nothing if program.is_async else lambda *_, **__: None
    ledger = Ledger()
    surroundings.begin(ledger)

    def call() -> bytes:
        output = scope["t"](**codec.decode(PAYLOAD)) if ", /" not in program.head else scope["t"](1, q=[0, 1])
        return codec.encode(asyncio.run(output) if program.is_async else output)

    return _end(call), ledger.trace


class Judge:
    """One accepted program. `crashes` counts the killed attempts."""

    def __init__(self, loaded: Loaded, *, most_crashes: int = 60) -> None:
        self.loaded = loaded
        self.crashes = 0
        self._rng = random.Random(loaded.program.name)
        self._most = most_crashes
        self.reference = attempt(loaded)
        again = loaded.program.sites_again()
        self._again = {key: self._entries(again[key]) for key in self.reference.marks}

    def _entries(self, sites: Sequence[Site]) -> list[tuple[tuple[int, str], bool]]:
        """The effects that a resume repeats, and whether it may leave them out."""
        first = {number: (number, text) for number, text in reversed(self.reference.trace)}
        return [(first[site.number], bool(site.made)) for site in sites]

    def _expected(self, key: str | None, got: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """The effects of an attempt that begins after a checkpoint. What is made again may be missing: if the code
        reads it after all, the attempt ends differently."""
        if key is None:
            return self.reference.trace
        again: list[tuple[int, str]] = []
        for entry, is_optional in self._again[key]:
            if not is_optional or got[len(again) : len(again) + 1] == [entry]:
                again.append(entry)
        return again + self.reference.trace[self.reference.marks[key] :]

    def run(self) -> None:
        """Raises DisagreementError if the program resumes wrongly."""
        self._compare_with_plain()
        ticks = range(self.reference.ledger.ticks)
        for left in ticks if len(ticks) <= self._most else sorted(self._rng.sample(ticks, self._most)):
            killed = attempt(self.loaded, (), left)
            self._judge(killed, None, f"killed at {left}")
            self._resume(killed.stored, f"killed at {left}", 3)

    def _resume(self, stored: list[StoredCheckpoint], story: str, chain: int) -> None:
        """Resumes to the end; by chance it is killed on the way and resumed again."""
        self.crashes += 1
        resumed = attempt(self.loaded, stored)
        self._judge(resumed, stored, f"{story}, resumed")
        if chain and self._rng.random() < 0.3:
            left = self._rng.randrange(resumed.ledger.ticks + 1)
            killed = attempt(self.loaded, stored, left)
            if killed.end is None:
                story = f"{story}, resumed and killed at {left}"
                self._judge(killed, stored, story)
                self._resume(killed.stored, story, chain - 1)

    def _judge(self, got: Attempt, stored: list[StoredCheckpoint] | None, story: str) -> None:
        key = stored[-1].key if stored else None
        story = f"{story} from {key}"
        if key is not None and key not in self._again:
            self._fail(story, "key", list(self._again), key)
        expected = self._expected(key, got.trace)
        if got.end is None:
            expected = expected[: len(got.trace)]
        elif got.end != self.reference.end:
            self._fail(story, "end", self.reference.end, got.end)
        if got.trace != expected:
            self._fail(story, "effects", expected, got.trace)
        same = self.reference.stored[: len(got.stored)]
        if got.stored != same or (got.end is not None and len(got.stored) != len(self.reference.stored)):
            self._fail(story, "stored", same, got.stored)

    def _compare_with_plain(self) -> None:
        is_refused = self.reference.end is not None and self.reference.end[0] in _REFUSALS
        if self.loaded.program.has_aliases or is_refused:
            return
        expected, got = plain(self.loaded.program), (self.reference.end, self.reference.trace)
        if got != expected:
            self._fail("not killed", "plain Python", expected, got)

    def _fail(self, story: str, what: str, expected: Any, got: Any) -> None:
        message = f"{self.loaded.program.name}, {story}: {what}\nexpected {expected}\ngot      {got}"
        raise DisagreementError(f"{message}\n{self.loaded.program.text}")


def _subclasses(kind: type) -> set[str]:
    return {kind.__name__}.union(*(_subclasses(inner) for inner in kind.__subclasses__()))


_REFUSALS = _subclasses(TriggerError)


def accepted(program: Program, *, repairs: int = 12) -> tuple[Program | None, str]:
    """The program, with names added to its checkpoints until the check accepts it; else None and the last code."""
    program = program.copy()
    code = ""
    for _ in range(repairs + 1):
        try:
            load(program)
        except SyntaxError:
            return None, "syntax"
        except RegistrationError as error:
            code = error.problems[0].code
            if not _repair(program, error):
                return None, code
        else:
            return program, ""
    return None, code


def _repair(program: Program, error: RegistrationError) -> bool:
    """Saves the names that the check finds missing; leaves out a checkpoint that it refuses for another reason."""
    points = {s.point.key: (s, block) for s, block in program.points() if s.point is not None}
    for problem in error.problems:
        found = re.search(r"'(k\d+)'", problem.message)
        if found is None or found[1] not in points:
            return False
        statement, block = points[found[1]]
        name = problem.message.split("`")[1] if problem.code == "lost_name" else ""
        if name in SAVEABLE and statement.point is not None:
            if name not in statement.point.names:
                statement.point.names.append(name)
        elif len(points) > 1 and statement in block:
            block.remove(statement)
            points.pop(found[1])
        else:
            return False
    return True
