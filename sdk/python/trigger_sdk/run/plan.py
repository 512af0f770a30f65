"""What compiled code asks at run time: where to start, with which names, and to save at each resume point.

A Plan belongs to a function, an Entry to one call of it. `context.py` knows which run the process is in.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trigger_sdk.compiler.compiled import Compiled, ResumePoint
from trigger_sdk.compiler.rewrite import PLAN
from trigger_sdk.errors import CheckpointMisplaced, CodecError, ResumeRefused, TooLarge
from trigger_sdk.run import context
from trigger_sdk.run.stored import Resume
from trigger_sdk.values import codec
from trigger_sdk.values.shapes import restore

NOTHING = object()
_SINGLE = frozenset({str, int, float, bool, bytes, type(None)})
"""Values that cannot change in place, so it cannot matter whether two names share one."""


def install(compiled: Compiled) -> "Plan":
    """Gives the function code that can resume; the plan is what that code asks."""
    plan = Plan(compiled)
    constants = tuple(plan if constant == PLAN else constant for constant in compiled.code.co_consts)
    compiled.function.__code__ = compiled.code.replace(co_consts=constants)
    return plan


class Plan:
    """The resume points of one function."""

    def __init__(self, compiled: Compiled) -> None:
        self.points = compiled.points
        self.name = compiled.function.__qualname__
        self._index_of = {point.key: index for index, point in enumerate(self.points, 1)}
        self._computed = compiled.computed
        self._types = compiled.local_types
        self._direct = Entry(self, None, 0, {})

    def __repr__(self) -> str:
        return f"<plan of {self.name}>"

    def enter(self) -> "Entry":
        """Called first by the compiled code: the run's own call starts where the run is, any other call at the top."""
        run = context.active_run()
        if run is None or run.plan is not self or run.is_entered:
            return self._direct
        run.is_entered = True
        for name in self._computed & set(run.known):
            # The next process may compute another value, so the first checkpoint must carry it.
            if name not in run.restored and isinstance(run.known[name], bytes):
                run.known[name] = b""
        if run.resume is None:
            return Entry(self, run, 0, {})
        return Entry(self, run, self._index_of[run.resume.key], run.restored)

    def point_of(self, resume: Resume) -> ResumePoint:
        """The point that a run resumes from; ResumeRefused if the stored names do not fit this code."""
        index = self._index_of.get(resume.key)
        if index is None:
            message = f"{self.name} has no checkpoint {resume.key!r} to resume from"
            raise ResumeRefused(message, key=resume.key)
        point = self.points[index - 1]
        missing = [name for name in point.needs if name not in resume.names]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            message = f"{self.name} needs {names} after {resume.key!r}, which the stored checkpoints do not hold"
            raise ResumeRefused(message, key=resume.key, missing=missing)
        return point

    def annotation(self, name: str) -> Any:
        """The type of a local name, from its annotation or from what is called for its value; None if unknown."""
        return self._types.of(name)


class Entry:
    """One call. The compiled code reads `start`, `names` and `nothing`, and calls `holds` and `save`."""

    __slots__ = ("_plan", "_run", "names", "nothing", "start")

    def __init__(self, plan: Plan, run: context.ActiveRun | None, start: int, names: Mapping[str, Any]) -> None:
        self._plan = plan
        self._run = run
        self.start = start
        self.names = names
        self.nothing = NOTHING

    def holds(self, name: str) -> bool:
        """Whether the run would restore the name, so that a changed value must be saved again."""
        return self._run is not None and name in self._run.known

    def save(self, index: int, data: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
        """Saves at a resume point; returns the names to rebind, with their decoded copies."""
        prepared = self._prepare(index, data, live)
        if self._run is not None:
            point = prepared.point
            self._run.runtime.save_checkpoint(point.key, prepared.data, list(point.binds), prepared.carried)
        return self._finish(prepared)

    async def save_async(self, index: int, data: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
        """Does the same without blocking the event loop."""
        prepared = self._prepare(index, data, live)
        if self._run is not None:
            # asyncio takes longer to import than the rest of this package.
            from trigger_sdk.run.off_loop import off_loop

            point, save = prepared.point, self._run.runtime.save_checkpoint
            await off_loop(save, point.key, prepared.data, list(point.binds), prepared.carried)
        return self._finish(prepared)

    def _prepare(self, index: int, data: dict[str, Any], live: dict[str, Any]) -> "_Prepared":
        plan = self._plan
        point = plan.points[index - 1]
        if self._run is None and context.active_run() is not None:
            raise CheckpointMisplaced(
                f"the checkpoint {point.key!r} of {plan.name} was reached outside the body of the task that is running"
            )
        depth = 2 if "$type" in data else 1
        parts = {
            name: codec.encode(
                value,
                annotation=plan.annotation(name) if name in point.binds else None,
                depth=depth,
                at=(name,),
                is_restored=True,
            )
            for name, value in data.items()
        }
        texts = self._texts(point, live)
        assert self._run is not None or not texts
        changed = {name: text for name, text in texts.items() if self._run and text != self._run.known[name]}
        text = codec.encode_entries(parts)
        carried = codec.encode_entries(changed) if changed else None
        if len(text) + len(carried or b"") > codec.MAX_VALUE_BYTES:
            size = len(text) + len(carried or b"")
            names = ", ".join(changed)
            raise TooLarge("$", f"with the changed names {names}, {size:,} bytes are over {codec.MAX_VALUE_BYTES:,}")
        # Unchanged values are separated from other names of the same object too, as they would be after resuming.
        shared = {name: text for name, text in texts.items() if name in changed or type(live[name]) not in _SINGLE}
        bound = {name: parts[name] for name in point.binds}
        return _Prepared(point, text, carried, {**bound, **shared})

    def _texts(self, point: ResumePoint, live: dict[str, Any]) -> dict[str, bytes]:
        """The stored text of each live name that the run would restore."""
        run = self._run
        texts: dict[str, bytes] = {}
        for name, value in live.items():
            if run is None or value is NOTHING:
                continue
            known = run.known[name]
            if not isinstance(known, bytes) and known.value is value:
                continue
            try:
                annotation = self._plan.annotation(name)
                texts[name] = codec.encode(value, annotation=annotation, depth=1, at=(name,), is_restored=True)
            except CodecError as error:
                message = f"`{name}` was changed and cannot be saved with {point.key!r}: {error.message}"
                raise type(error)(error.path, message) from None
        return texts

    def _finish(self, prepared: "_Prepared") -> dict[str, Any]:
        if self._run is not None:
            self._run.known.update(prepared.rebound)
        return {
            name: restore(codec.decode(text), self._plan.annotation(name), name)
            for name, text in prepared.rebound.items()
        }


class _Prepared(NamedTuple):
    """`rebound` are the texts from which names get their copies."""

    point: ResumePoint
    data: bytes
    carried: bytes | None
    rebound: dict[str, bytes]
