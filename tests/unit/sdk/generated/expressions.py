"""Random expressions over the names of a generated function; `statements.py` makes the statements.

Integers are read, computed, bound by walrus and recorded as effects; each expression's method says what it is.
"""

import itertools
import random

INTEGERS = ("i", "j", "k", "n")
LISTS = ("a", "b")
FUNCTIONS = ("f", "g")
MADE = ("y", "z")
"""Names that marked assignments make; they are read once one of them may have bound them."""


class Expressions:
    """Expressions of one program. `awaits` says whether `await` is allowed in the next expression."""

    def __init__(self, rng: random.Random, *, is_async: bool, has_aliases: bool) -> None:
        self.rng = rng
        self.awaits = is_async
        self.is_async = is_async
        self.has_aliases = has_aliases
        self._sites = itertools.count(1)
        self.known: set[str] = set()
        """Functions, modules and classes that a statement so far may have bound."""

    def site(self) -> int:
        return next(self._sites)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def integer_name(self) -> str:
        if self.known & set(MADE) and self.chance(0.25):
            return self.rng.choice(sorted(self.known & set(MADE)))
        return self.rng.choice([*INTEGERS, *INTEGERS, "p"])

    def list_name(self) -> str:
        return self.rng.choice([*LISTS, *LISTS, "q"])

    def effect(self, value: str) -> str:
        """An effect, as an expression with that value."""
        if self.awaits and self.chance(0.3):
            return f"(await aeffect({self.site()}, {value}))"
        return f"effect({self.site()}, {value})"

    def plain(self) -> str:
        """An integer that cannot fail once its names are bound, and changes nothing."""
        return self.rng.choice(["1", "2", self.integer_name(), self.integer_name(), f"({self.integer_name()} + 1)"])

    def integer(self, depth: int = 2) -> str:
        if depth == 0:
            return self.plain()
        choices = [self.plain, self.plain, self._length, self._length, self._effect, self._effect, self._sum]
        choices += [
            self._walrus,
            self._choice,
            self._short,
            self._short,
            self._comprehension,
            self._generator,
            self._call,
        ]
        choices += [self._entry, self._lambda, self._outer, self._item]
        self._depth = depth - 1
        return self.rng.choice(choices)()

    def list(self) -> str:
        name = self.list_name()
        choices = [
            lambda: f"[{self.integer(1)}]",
            lambda: f"{name} + [{self.integer(1)}]",
            lambda: f"list({name})",
            lambda: f"[*{name}, {self.integer(1)}]",
            lambda: f"[v + {self.plain()} for v in {name}]",
            lambda: f"[({self.rng.choice(INTEGERS)} := v) for v in {name} if v]",
            lambda: f"[v for v in {name} if v != {self.plain()}]",
        ]
        if self.has_aliases:
            choices += [lambda: name] * 4
        return self.rng.choice(choices)()

    def _length(self) -> str:
        return f"len({self.list_name()})"

    def _effect(self) -> str:
        return self.effect(self.integer(self._depth))

    def _sum(self) -> str:
        return f"(({self.integer(self._depth)} + {self.plain()}) % 7)"

    def _walrus(self) -> str:
        return f"({self.rng.choice(INTEGERS)} := {self.integer(self._depth)})"

    def _choice(self) -> str:
        depth = self._depth
        return f"({self.integer(depth)} if {self.plain()} % 2 else {self.integer(depth)})"

    def _short(self) -> str:
        word = self.rng.choice(["and", "or"])
        name = self.rng.choice(INTEGERS)
        return f"({self.integer(self._depth)} % 2 {word} ({name} := {self.plain()}))"

    def _comprehension(self) -> str:
        target = self.rng.choice(["v", "v", *INTEGERS])
        return f"sum([{target} + {self.plain()} for {target} in {self.list_name()} if {target}]) % 7"

    def _generator(self) -> str:
        name = self.rng.choice(INTEGERS)
        return f"sum(({name} := v) + {self.plain()} for v in {self.list_name()} if v) % 7"

    def _call(self) -> str:
        known = sorted(self.known & set(FUNCTIONS))
        return f"{self.rng.choice(known)}()" if known and self.chance(0.97) else self.plain()

    def _entry(self) -> str:
        return "d.get('x', 0)" if self.chance(0.7) else "len(d)"

    def _lambda(self) -> str:
        name = self.rng.choice(INTEGERS)
        return f"(lambda u={self.plain()}: (u + {name}) % 7)()"

    def _outer(self) -> str:
        return self.rng.choice("GN")

    def _item(self) -> str:
        return f"{self.list_name()}[0] % 7" if self.chance(0.4) else self.plain()
