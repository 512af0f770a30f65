"""Generated functions as trees of statements: their text, their checkpoints, and what a resume must run again.

`statements.py` makes the trees and `shrink.py` shrinks them. What runs again is worked out here from the tree and the
contract's words, deliberately without the compiler, whose answer it judges.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Point:
    """A checkpoint, with the names it saves."""

    key: str
    names: list[str]


@dataclass
class Statement:
    """One statement: headers with the block below each (None for a simple statement).

    `sites` are the effects of the header that a resume inside or after it repeats, if the statement is one that runs
    again: the items of a `with`, or the decorators and defaults of a nested function.
    """

    parts: "list[tuple[str, Block | None]]"
    sites: list[int] = field(default_factory=list)
    point: Point | None = None
    is_again: bool = False
    """Whether it is an import, a nested function or a marked assignment, which may run again for what follows it in the
    same block."""
    made: str = ""
    """The name that a marked assignment makes: it runs again only for points behind which the name is read."""

    @property
    def blocks(self) -> "list[Block]":
        return [block for _, block in self.parts if block is not None]


Block = list[Statement]


class Site(NamedTuple):
    """An effect that a resume repeats: always, or if the name that it makes is read behind the checkpoint."""

    number: int
    made: str = ""


@dataclass
class Program:
    """One task function. `name` gives seed and number; `has_aliases` is set if one object may have two names."""

    name: str
    head: str
    block: Block
    is_async: bool = False
    has_aliases: bool = False

    @property
    def text(self) -> str:
        word = "await " if self.is_async else ""
        lines = [
            "from tests.unit.sdk.generated.surroundings import *",
            "G = 0",
            "def make():",
            "    N = 0",
            "    @task('t')",
            f"    {'async ' if self.is_async else ''}def t({self.head}):",
            "        global G",
            "        nonlocal N",
            *_lines(self.block, 2, word),
            "    return t",
            "t = make()",
        ]
        return "\n".join(lines) + "\n"

    def copy(self) -> "Program":
        return copy.deepcopy(self)

    def points(self) -> Iterator[tuple[Statement, Block]]:
        """Every checkpoint, with the block it is in."""
        yield from ((s, block) for block in blocks_in(self.block) for s in block if s.point is not None)

    def sites_again(self) -> dict[str, "list[Site]"]:
        """By key: the effects that a resume from that checkpoint repeats, in order."""
        found: dict[str, list[Site]] = {}
        _sites(self.block, [], found)
        return {key: [site for site in sites if self._may_be_read(key, site)] for key, sites in found.items()}

    def _may_be_read(self, key: str, site: "Site") -> bool:
        """Whether the text behind a checkpoint, or what may run again before it, contains the name that is made."""
        if not site.made:
            return True
        behind = self.text.partition(f"checkpoint('{key}'")[2]
        again = [text for block in blocks_in(self.block) for s in block if s.sites or s.is_again for text in _texts(s)]
        read = [text.partition(" = ")[2] if f"{site.made} = " in text else text for text in again]
        return any(re.search(rf"\b{site.made}\b", text) for text in (behind, *read))


def blocks_in(block: Block) -> Iterator[Block]:
    yield block
    for statement in block:
        for inner in statement.blocks:
            yield from blocks_in(inner)


def _texts(statement: Statement) -> Iterator[str]:
    for header, block in statement.parts:
        yield header
        for inner in block if statement.is_again and block else ():
            yield from _texts(inner)


def _sites(block: Block, before: list[Site], found: dict[str, list[Site]]) -> None:
    for statement in block:
        if statement.point is not None:
            found[statement.point.key] = before
        elif statement.is_again:
            before = [*before, *(Site(number, statement.made) for number in statement.sites)]
        else:
            for inner in statement.blocks:
                _sites(inner, [*before, *map(Site, statement.sites)], found)


def _lines(block: Block, depth: int, word: str) -> list[str]:
    indent = "    " * depth
    lines: list[str] = []
    for statement in block:
        if statement.point is not None:
            saved = "".join(f", {name}={name}" for name in statement.point.names)
            lines.append(f"{indent}{word}checkpoint('{statement.point.key}'{saved})")
        for header, inner in statement.parts:
            lines.append(indent + header)
            if inner is not None:
                lines += _lines(inner, depth + 1, word)
    return lines or [indent + "pass"]
