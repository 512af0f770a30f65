"""What generated functions call: effects, context managers, decorators; and the crash that ends an attempt.

A crash stands for a killed process, which runs no `finally` and no `__exit__`: after it, every effect is ignored.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from trigger_sdk import checkpoint, task

__all__ = [
    "CM", "E1", "E2", "Box", "aeffect", "aiterate", "checkpoint", "decorated", "effect", "make_box", "task", "turn",
]  # fmt: skip


class CrashError(BaseException):
    """The process is gone."""


class Ledger:
    """The effects of one attempt, in order, as (site, text); it crashes when `left` ticks are used up."""

    def __init__(self, left: int | None = None) -> None:
        self.trace: list[tuple[int, str]] = []
        self.ticks = 0
        self.is_dead = False
        self.turns: dict[int, int] = {}
        self._left = left

    def tick(self) -> None:
        """A point where the process may be killed."""
        if self.is_dead or self.ticks == self._left:
            self.is_dead = True
            raise CrashError
        self.ticks += 1


current = Ledger()


def begin(ledger: Ledger) -> None:
    """Makes this the ledger of all effects from now on."""
    global current
    current = ledger


def effect(site: int, value: Any = None) -> Any:
    current.tick()
    current.trace.append((site, repr(value)))
    return value


async def aeffect(site: int, value: Any = None) -> Any:
    return effect(site, value)


async def aiterate(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@dataclass
class Box:
    """Stored because an annotation names it: that of the local name, or what `make_box` returns."""

    v: int


def make_box(v: int) -> Box:
    return Box(v)


class E1(Exception):
    pass


class E2(Exception):
    pass


class CM:
    """Records entry and exit; returns `target`, may swallow E1, may raise E2 on exit."""

    def __init__(
        self, site: int, target: Any = None, *, swallows: bool = False, fails: bool = False, value: int = 0
    ) -> None:
        self.site, self.target, self.swallows, self.fails, self.value = site, target, swallows, fails, value

    def __enter__(self) -> Any:
        effect(self.site, self.value)
        return self.target

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        effect(-self.site, kind and kind.__name__)
        if self.fails:
            raise E2(self.site)
        return self.swallows and kind is not None and issubclass(kind, E1)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        return self.__exit__(kind, error, trace)


def decorated(_: object) -> Callable[[Any], Any]:
    return lambda function: function


def turn(site: int, most: int) -> bool:
    """Whether a loop may run another round: no generated function runs forever."""
    current.turns[site] = current.turns.get(site, 0) + 1
    return current.turns[site] <= most
