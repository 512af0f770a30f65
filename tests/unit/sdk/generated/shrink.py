"""Shrinks a program while it still shows the fault: removes statements, or replaces them by their blocks."""

from collections.abc import Callable, Iterator

from tests.unit.sdk.generated.tree import Block, Program, blocks_in

Fails = Callable[[Program], bool]


def shrink(program: Program, fails: Fails, *, tries: int = 1500) -> Program:
    """The smallest program found for which `fails` still holds."""
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for number in range(10_000):
            smaller = _smaller(program, number)
            if smaller is None:
                break
            tries -= 1
            if tries < 0:
                return program
            if fails(smaller):
                program, is_smaller = smaller, True
    return program


def _smaller(program: Program, number: int) -> Program | None:
    """The program with the change of that number; None if there are no more."""
    changed = program.copy()
    changes = _changes(changed.block)
    for _ in range(number):
        if next(changes, None) is None:
            return None
    change = next(changes, None)
    if change is None:
        return None
    change()
    return changed


def _changes(body: Block) -> Iterator[Callable[[], None]]:
    for block in list(blocks_in(body)):
        for index, statement in enumerate(list(block)):
            yield lambda block=block, index=index: block.pop(index)
            for inner in statement.blocks:
                yield lambda block=block, index=index, inner=inner: block.__setitem__(slice(index, index + 1), inner)
            for part in range(1, len(statement.parts)):
                yield lambda statement=statement, part=part: statement.parts.pop(part)
            if statement.point is not None:
                for name in statement.point.names:
                    yield lambda statement=statement, name=name: statement.point.names.remove(name)
