"""Exhaustive breadth-first search over a model: every reachable state, shortest counterexamples, dead ends.

Owns no protocol; each model says its states, its steps and its properties.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

S = TypeVar("S")


class Violation(Exception):
    """A property does not hold after the step; the text says which one."""


class Model(Protocol[S]):
    def start(self) -> S: ...

    def steps(self, state: S, /) -> Iterator[tuple[str, S]]:
        """Each step out of a state with its label; raises Violation where a step breaks a property."""

    def is_end(self, state: S, /) -> bool: ...

    def canonical(self, state: S, /) -> S:
        """The one state that stands for all that behave alike."""


@dataclass
class Result:
    """`violation` is empty where every property held; `path` are the steps that lead to it."""

    state_count: int
    step_count: int
    violation: str = ""
    path: list[str] = field(default_factory=list)


def search(model: Model[S], *, limit: int = 50_000_000) -> Result:
    """Visits every reachable state; ends at the first violation, else looks for states that reach no end."""
    start = model.canonical(model.start())
    numbers: dict[S, int] = {start: 0}
    states: list[S] = [start]
    parents = array("q", [-1])
    sources, targets = array("q"), array("q")
    position = 0
    while position < len(states):
        state = states[position]
        try:
            for _, step in model.steps(state):
                following = model.canonical(step)
                number = numbers.get(following)
                if number is None:
                    number = numbers[following] = len(states)
                    states.append(following)
                    parents.append(position)
                if number != position:
                    sources.append(position)
                    targets.append(number)
        except Violation as violation:
            return Result(len(states), len(targets), str(violation), _path(model, states, parents, position))
        if len(states) > limit:
            raise RuntimeError(f"more than {limit:,} states")
        position += 1
    stuck = _first_dead_end(model, states, sources, targets)
    if stuck is not None:
        return Result(len(states), len(targets), "a dead end", _path(model, states, parents, stuck))
    return Result(len(states), len(targets))


def _first_dead_end(model: Model[S], states: list[S], sources: "array[int]", targets: "array[int]") -> int | None:
    """The first state from which no end can be reached. Most steps lead to later states, so few passes settle it."""
    reaches = bytearray(model.is_end(state) for state in states)
    is_changed = True
    while is_changed:
        is_changed = False
        for edge in range(len(sources) - 1, -1, -1):
            if reaches[targets[edge]] and not reaches[sources[edge]]:
                reaches[sources[edge]] = 1
                is_changed = True
    found = reaches.find(0)
    return None if found < 0 else found


def _path(model: Model[S], states: list[S], parents: "array[int]", position: int) -> list[str]:
    path: list[str] = []
    while position > 0:
        parent = parents[position]
        path.append(
            next(
                label
                for label, following in model.steps(states[parent])
                if model.canonical(following) == states[position]
            )
        )
        position = parent
    return path[::-1]
