"""Random task functions, as trees: the simple statements, and the compound ones with their blocks.

Every program follows from its seed and number alone. Headers that a resume runs again read only integers, which nothing
can change in place: such a header reads the value at the resume point (contract), which for an object that was changed
in the meantime differs from the first value.
"""

import itertools
import random

from tests.unit.sdk.generated.expressions import FUNCTIONS, INTEGERS, LISTS, MADE, Expressions
from tests.unit.sdk.generated.tree import Block, Point, Program, Statement

HEADS = ("p, q", "p, q", "p=1, *, q", "q, p=1", "p, /, q", "*, p, q", "p, q, **rest")
SAVEABLE = (*INTEGERS, *LISTS, "d", "p", "q", "w", "s", "o")


THEMES: dict[str, tuple[str, ...]] = {
    "": (),
    "again": ("_made_again", "_made_again", "_using_made", "_point"),
    "aliases": ("_aliasing", "_aliasing", "_aliasing", "_point"),
    "branches": ("_if", "_match"),
    "deleting": ("_deleting",),
    "exits": ("_failing_exit",),
    "functions": ("_function",),
    "leaving": ("_try", "_with"),
    "loops": ("_for", "_while"),
    "matches": ("_match",),
    "outside": ("_outside",),
    "remaking": ("_made_again", "_unmaking", "_using_made", "_point"),
    "setters": ("_setter", "_calling", "_calling", "_outside", "_with"),
    "withs": ("_with", "_using"),
}
"""What a program has more of than others: the methods that write it."""


def program(seed: object, number: int, theme: str | None = None) -> Program:
    """The program of a seed and a number; half of them have a theme, unless one is given."""
    rng = random.Random(f"{seed}:{number}:{theme}")
    if theme is None:
        theme = rng.choice(["", rng.choice(list(THEMES))])
    is_async, has_aliases = rng.random() < 0.12, theme == "aliases" or rng.random() < 0.2
    block = Statements(rng, theme, is_async=is_async, has_aliases=has_aliases).body()
    return Program(f"{seed}:{number}", rng.choice(HEADS), block, is_async, has_aliases)


def simple(text: str) -> Statement:
    return Statement([(text, None)])


class Statements(Expressions):
    """The statements of one program."""

    def __init__(self, rng: random.Random, theme: str, *, is_async: bool, has_aliases: bool) -> None:
        super().__init__(rng, is_async=is_async, has_aliases=has_aliases)
        self._theme = theme
        self._keys = itertools.count(1)
        self._in_loop = 0
        self._is_nested = False
        self._may_return = True
        self._left = rng.randint(3, 13)

    def body(self) -> Block:
        starts = ["i, j, k, n = 1, 2, 3, 0", "a, b = [1], [2, 3]", "d = {'x': 1}"]
        block = [simple(text) for text in starts if self.chance(0.95)]
        if self.chance(0.5):
            block.append(self._function())
        while self._left > 0:
            block += self._statement(3)
        block += [] if any(s.point for s in block) else [self._point()]
        names = self.rng.sample([*INTEGERS, *LISTS, "d", "p", "q"], self.rng.randint(1, 4))
        return [*block, simple(f"return [{', '.join(names)}]")]

    def _block(self, depth: int) -> Block:
        return [s for _ in range(self.rng.randint(1, 3)) for s in self._statement(depth)]

    def _statement(self, depth: int) -> Block:
        self._left -= 1
        if not self._is_nested and self.chance(0.17 if not self._in_loop else 0.01):
            return [self._point()]
        if self._theme and self.chance(0.35 if depth > 1 else 0.15):
            written = getattr(self, self.rng.choice(THEMES[self._theme]))
            if written in (self._function, self._point, self._deleting, self._setter, self._made_again):
                return [written()] if written != self._point or not (self._is_nested or self._in_loop) else []
            if written in (self._aliasing, self._calling, self._outside, self._using, self._using_made, self._unmaking):
                return [simple(written())]
            return [written(depth - 1)] if depth else []
        if depth and self.chance(0.38):
            kinds = [
                self._if,
                self._if,
                self._match,
                self._match,
                self._with,
                self._with,
                self._try,
                self._try,
                self._try,
            ]
            return [self.rng.choice([*kinds, self._for, self._while, self._class])(depth - 1)]
        if self.chance(0.09):
            return [self._function()]
        if self.chance(0.06 if not self._is_nested and not self._in_loop else 0.003):
            return [self._made_again()]
        return [simple(self._simple())]

    def _point(self) -> Statement:
        share = self.rng.choice([0.0, 0.0, 0.2, 0.5])
        names = [name for name in (*INTEGERS, *LISTS, "d") if self.chance(share)]
        names += [name for name in ("p", "q") if self.chance(0.15)]
        number = next(self._keys)
        number -= number > 1 and self.chance(0.03)
        return Statement([], point=Point(f"k{number}", names))

    def _simple(self) -> str:
        one, other, items = self.rng.choice(INTEGERS), self.rng.choice(INTEGERS), self.list_name()
        texts = [
            lambda: f"{one} = {self.integer()}",
            lambda: f"{one} = {self.integer()}",
            lambda: f"{self.integer_name()} = {self.integer()}",
            lambda: f"{items} = {self.list()}",
            lambda: f"{items} = {self.list()}",
            lambda: f"{one}, {other} = {self.integer(1)}, {self.integer(1)}",
            lambda: f"{one}, *{items} = [{self.integer(1)}, {self.integer(1)}]",
            lambda: f"{one} = {other} = {self.integer(1)}",
            lambda: f"{one}: int = {self.integer(1)}",
            lambda: f"{one} += {self.integer(1)}",
            lambda: f"{items} += [{self.integer(1)}]",
            lambda: f"{items}.append({self.integer(1)})",
            lambda: f"{items}.append({self.integer(1)})",
            lambda: f"{items}[:1] = [{self.integer(1)}]",
            lambda: f"del {items}[:1]",
            lambda: f"d['{self.rng.choice('xy')}'] = {self.integer(1)}",
            lambda: f"d.update(x={self.integer(1)})",
            lambda: f"s = {self.rng.choice(['str', 'bool'])}({self.integer(1)})",
            lambda: self.effect(self.integer()),
            lambda: self.effect(self.integer()),
            lambda: self.effect(f"[{self.integer_name()}, {items}]"),
            self._rare,
            self._rare,
        ]
        text = self.rng.choice(texts)()
        self.known.update(["s"] if text.startswith("s =") else [])
        return text

    def _rare(self) -> str:
        one, function, items = self.rng.choice(INTEGERS), self.rng.choice(FUNCTIONS), self.list_name()
        texts = [
            lambda: f"del {one}",
            lambda: f"{one}: int",
            lambda: f"{function} = lambda: {self.integer(1)}",
            lambda: self._if_known("m", f"effect({self.site()}, m.floor(1.5))"),
            lambda: self._if_known("m", f"effect({self.site()}, m.floor(1.5))"),
            lambda: f"if {one}: import math as m",
            lambda: self._if_known("w", f"effect({self.site()}, w)"),
            lambda: self._if_known("w", "w.append(1)"),
            lambda: f"if {self.integer(1)} == 3: raise E1({self.site()})",
            lambda: f"if {self.integer(1)} == 2: {self._leave()}",
            lambda: f"assert {self.integer(1)} != 4, {self.integer(1)}",
            lambda: f"d['list'] = list({items})",
            lambda: self._if_known("K", f"effect({self.site()}, [K.z, K().method()])"),
            lambda: self._if_known("K", f"effect({self.site()}, [K.z, K().method()])"),
            lambda: self._if_known("s", f"effect({self.site()}, s)"),
            lambda: f"o = make_box({self.integer(1)})",
            lambda: f"o = make_box({self.integer(1)})",
            lambda: f"o: Box = Box({self.integer(1)})",
            lambda: self._if_known("o", f"effect({self.site()}, o)"),
            lambda: self._if_known("o", f"o.v = {self.plain()}"),
            lambda: f"h = (v + {one} for v in {items})",
            lambda: f"h = ({one} := v for v in {items})",
            lambda: self._if_known("h", f"effect({self.site()}, sum(h))"),
        ]
        if self.has_aliases:
            texts += [lambda: f"d['list'] = {items}", lambda: f"a = b = {self.list()}"] * 2
        text = self.rng.choice(texts)()
        # Once a lambda, a module or an iterator is bound, later code uses it.
        self.known.update(name for name in ("h", "f", "g", "o") if text.startswith((f"{name} =", f"{name}: Box")))
        self.known.update(["m"] if "import" in text else [])
        return text

    def _if_known(self, name: str, text: str) -> str:
        return text if name in self.known and self.chance(0.97) else self.effect(self.integer(1))

    def _deleting(self) -> Statement:
        name = self.rng.choice(INTEGERS)
        if self.chance(0.7):
            return simple(f"del {name}")
        block = [simple(f"raise E1({self.site()})")] if self.chance(0.7) else [simple(self._simple())]
        return Statement([("try:", block), (f"except E1 as {name}:", [simple(self._simple())])])

    def _setter(self) -> Statement:
        name = self.rng.choice(FUNCTIONS)
        self.known.add(name)
        body = [f"nonlocal {self.rng.choice(INTEGERS)}; ", "global G; ", "nonlocal N; "]
        declared = self.rng.choice([body[0], *body])
        set_name = declared.split()[1].rstrip(";")
        return Statement([(f"def {name}():", [simple(f"{declared}{set_name} = {self.plain()} + 3")])], is_again=True)

    def _made_again(self) -> Statement:
        """An assignment that a resume makes again for the points that read its name."""
        name = self.rng.choice([*MADE, *MADE, *MADE, self.rng.choice(INTEGERS)])
        site = self.site()
        value = f"effect({site}, {self.plain()})"
        if self.chance(0.1):
            value = f"(lambda: {value})()"
        text = self.rng.choice([f"{name} = {value}", f"{name} = {value}", f"{name}: int = {value}"])
        self.known.update([name] if name in MADE else [])
        return Statement([(f"{text}  # trigger: again", None)], [site], is_again=True, made=name)

    def _unmaking(self) -> str:
        known = sorted(self.known & set(MADE))
        return f"del {self.rng.choice(known)}" if known else self.effect("1")

    def _using_made(self) -> str:
        known = sorted(self.known & set(MADE))
        if not known or self.chance(0.1):
            return f"{self.rng.choice(MADE)} = {self.plain()}" if known else self.effect("1")
        return self.effect(self.rng.choice([*known, f"[{known[0]}, {self.rng.choice(INTEGERS)}]"]))

    def _calling(self) -> str:
        return self.effect(self._call())

    def _aliasing(self) -> str:
        return self.rng.choice(["a = b", "b = a", "a = b = [1]", "a.append(2)", "b.append(3)", self.effect("[a, b]")])

    def _using(self) -> str:
        name = self.rng.choice(["w", "w", "a", "d", "i"])
        if name == "w":
            return self._if_known("w", self.rng.choice(["w.append(1)", "w += [2]", self.effect("w")]))
        return f"{name}.append({self.plain()})" if name == "a" and self.chance(0.5) else self.effect(name)

    def _outside(self) -> str:
        return f"{self.rng.choice('GN')} = {self.integer(1)}" if self.chance(0.5) else self.effect("[G, N]")

    def _leave(self) -> str:
        if self._in_loop and self.chance(0.7):
            return self.rng.choice(["break", "continue"])
        return f"return {self.integer(1)}" if self._may_return else f"raise E2({self.site()})"

    def _function(self) -> Statement:
        """A nested function: it reads, or sets names around it; decorators and defaults are evaluated with `def`."""
        awaits, self.awaits = self.awaits, False
        name, target = self.rng.choice(FUNCTIONS), self.rng.choice([*INTEGERS, "p"])
        sites: list[int] = []
        again = self._again(sites)
        heads = [f"def {name}():", f"def {name}():", f"def {name}(u={again}):", f"def {name}(*, u={again}):"]
        body = [
            [f"return {self.integer(1)}"],
            [f"return {self.integer(1)}"],
            [f"nonlocal {target}", f"{target} = {self.integer(1)}", f"return {self.plain()}"],
            [f"nonlocal {target}", f"{target} += 1", f"return {target}"],
            [f"{self.list_name()}.append({self.plain()})", f"return {self.plain()}"],
            [f"return (lambda: {self.integer(1)})()"],
            [f"def inner(): return {self.integer(1)}", "return inner()"],
            [f"nonlocal {target}", f"if {self.plain()} == 2: del {target}", "return 1"],
            [f"global G; G = {self.plain()}", "return G"],
            [f"nonlocal N; N += {self.plain()}", "return N"],
        ]
        chosen = self.rng.choice(body if self.chance(0.5) else body[:4])
        head = self.rng.choice(heads)
        if "u=" not in head:
            sites = []
        parts: list[tuple[str, Block | None]] = [(head, [simple(text) for text in chosen])]
        if self.chance(0.15):
            site = self.site()
            parts.insert(0, (f"@decorated(effect({site}, {self.plain()}))", None))
            sites.insert(0, site)
        self.awaits = awaits
        if self.chance(0.15):
            self.known.add("m")
            return Statement([("import math as m", None)], is_again=True)
        self.known.add(name)
        return Statement(parts, sites, is_again=True)

    def _again(self, sites: list[int]) -> str:
        """A value of a header that runs again."""
        if self.chance(0.6):
            sites.append(self.site())
            return f"effect({sites[-1]}, {self.plain()})"
        return self.plain()

    def _if(self, depth: int) -> Statement:
        parts: list[tuple[str, Block | None]] = [(f"if {self.integer()} % 2:", self._block(depth))]
        while self.chance(0.3):
            parts.append((f"elif {self.integer()} % 2:", self._block(depth)))
        if self.chance(0.7):
            parts.append(("else:", self._block(depth)))
        return Statement(parts)

    def _match(self, depth: int) -> Statement:
        """Captures bind before the guard decides, and nothing if the pattern does not match. No capture takes a whole
        list: that would be a second name for it."""
        one, items = self.rng.choice(INTEGERS), self.rng.choice(LISTS)
        patterns = [
            f"[{one}]", f"[{one}, *{items}]", f"[_, {one}, *_]", f"[{one}, *_] if {self.integer(1)} % 2",
            f"int() as {one} if {self.integer(1)} % 2", "[] | [0]", f"[1 as {one}]", f"{{'x': {one}}}", f"int({one})",
            f"[2, *{items}]",
        ]  # fmt: skip
        subject = self.rng.choice([self.list_name(), self.list_name(), self.integer(1), "d"])
        cases = [self._case(text, depth) for text in self.rng.sample(patterns, self.rng.randint(1, 3))]
        if self.chance(0.6):
            cases.append(self._case("_", depth))
        return Statement([(f"match {subject}:", cases)])

    def _case(self, pattern: str, depth: int) -> Statement:
        return Statement([(f"case {pattern}:", self._block(depth))])

    def _with(self, depth: int) -> Statement:
        sites: list[int] = []
        items = [self._item_of_with(sites) for _ in range(1 if self.chance(0.75) else 2)]
        word = "async with" if self.is_async and self.awaits and self.chance(0.4) else "with"
        block = self._block(depth)
        if self.chance(0.4 if self._theme == "leaving" else 0.1):
            block.append(simple(f"raise E1({self.site()})"))
        return Statement([(f"{word} {', '.join(items)}:", block)], sites)

    def _item_of_with(self, sites: list[int]) -> str:
        arguments = [self.rng.choice(["[1]", "[]", "(1, 2)", "3"])]
        share = 0.4 if self._theme == "leaving" else 0.12
        arguments += [f"swallows={self.chance(share + 0.2)}", f"fails={self.chance(share)}"]
        name = self.rng.choice(INTEGERS)
        values = [f"({self.plain()} % 2 and ({name} := {self.plain()}))", f"sum(v + {name} for v in (1, 2))"]
        value = self.rng.choice(values) if self.chance(0.15) else self._again(sites)
        if self.chance(0.12):
            value = f"({name} := {value})"
        sites.append(self.site())
        target = ""
        if self.chance(0.45):
            target = " as " + self.rng.choice(["w", "w", "w", *LISTS, "(i, j)", "d['w']"])
            self.known.update(["w"] if target == " as w" else [])
            if "(i" in target:
                arguments[0] = "(1, 2)"
            elif target != " as w":
                arguments[0] = "[1]"
        return f"CM({sites[-1]}, {', '.join(arguments)}, value={value}){target}"

    def _failing_exit(self, depth: int) -> Statement:
        """A `with` that raises when it is left, right behind a checkpoint."""
        sites = [self.site()]
        block = [simple(self._simple()), self._point()]
        inside = Statement([(f"with CM({sites[0]}, fails=True):", block)], sites)
        return Statement([("try:", [inside]), ("except E2:", [simple(self.effect(self.integer_name()))])])

    def _try(self, depth: int) -> Statement:
        parts: list[tuple[str, Block | None]] = [("try:", self._block(depth))]
        if self.chance(0.4):
            block = parts[0][1]
            assert block is not None
            block.append(simple(f"raise {self.rng.choice(['E1', 'E2', 'KeyError'])}({self.site()})"))
        star = "*" if self.chance(0.1) else ""
        kept = self._may_return, self._in_loop, self._is_nested
        self._is_nested = self.chance(0.97)
        if star:
            self._may_return, self._in_loop = False, 0
        for _ in range(self.rng.randint(0, 2)):
            kind = self.rng.choice(["E1", "E2", "(E1, E2)", "KeyError", "Exception", "NameError", "(E1, NameError)"])
            name = f" as {self.rng.choice(['x', 'x', 'x', *INTEGERS])}" if self.chance(0.3) else ""
            parts.append((f"except{star} {kind}{name}:", self._block(max(depth - 1, 0))))
        self._may_return, self._in_loop, self._is_nested = kept
        if len(parts) > 1 and self.chance(0.35):
            parts.append(("else:", self._block(depth)))
        if len(parts) == 1 or self.chance(0.25):
            self._is_nested = self._is_nested or self.chance(0.97)
            self._may_return = self._may_return and self.chance(0.3)
            parts.append(("finally:", self._block(max(depth - 1, 0))))
            self._may_return, self._in_loop, self._is_nested = kept
        return Statement(parts)

    def _for(self, depth: int) -> Statement:
        target = self.rng.choice(["v", *INTEGERS, *INTEGERS])
        head = f"for {target} in {self.list_name()}[:3]:"
        if self.awaits and self.chance(0.4):
            head = f"async for {target} in aiterate({self.list_name()}[:3]):"
        return self._loop(head, depth)

    def _while(self, depth: int) -> Statement:
        return self._loop(f"while turn({self.site()}, {self.rng.randint(1, 3)}) and {self.integer(1)} != 5:", depth)

    def _loop(self, head: str, depth: int) -> Statement:
        self._in_loop += 1
        parts: list[tuple[str, Block | None]] = [(head, self._block(max(depth - 1, 0)))]
        self._in_loop -= 1
        if self.chance(0.25):
            kept, self._is_nested = self._is_nested, True
            parts.append(("else:", self._block(max(depth - 1, 0))))
            self._is_nested = kept
        return Statement(parts)

    def _class(self, depth: int) -> Statement:
        awaits, self.awaits = self.awaits, False
        one = self.rng.choice(INTEGERS)
        texts = [f"z = {self.plain()}", f"def method(self): return {one}"]
        if self.chance(0.3):
            texts = [f"nonlocal {one}", f"{one} = {self.plain()}", *texts]
        self.awaits = awaits
        self.known.add("K")
        return Statement([("class K:", [simple(text) for text in texts])])
