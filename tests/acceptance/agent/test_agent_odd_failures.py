"""Errors that are hard to describe: each is its run's outcome, bounded and in words, and none crashes the agent."""

from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import Proxy

STACK_MAX_BYTES = 64 * 1024
MESSAGE_MAX_BYTES = 16 * 1024

SOURCE = """
import os, pickle, sys

def raising(*_):
    raise LookupError("asked")

def chain(count, link):
    error = ValueError("the first")
    for number in range(count):
        following = ValueError(f"number {number}")
        setattr(following, link, error)
        error = following
    return error

def cycle(link):
    one, other = ValueError("one"), ValueError("other")
    setattr(one, link, other)
    setattr(other, link, one)
    return one

class StrRaises(Exception):
    __str__ = __repr__ = raising

class StrExits(Exception):
    def __str__(self):
        sys.exit(3)

class StrIsNone(Exception):
    def __str__(self):
        return None

class StrIsEndless(Exception):
    def __str__(self):
        while True:
            pass

class CauseRaises(Exception):
    __cause__ = __context__ = __notes__ = property(raising)
    __suppress_context__ = args = with_traceback = property(raising)

class ClassRaises(Exception):
    __class__ = property(raising)

class TracebackRaises(Exception):
    __traceback__ = property(raising)

class Text(str):
    __str__ = __repr__ = __len__ = encode = replace = __getitem__ = raising

class Meta(type):
    __instancecheck__ = __subclasscheck__ = __eq__ = __getattribute__ = raising
    __hash__ = type.__hash__

class Named(Exception, metaclass=Meta):
    pass

class Moduleless(Exception):
    __module__ = Text("text")

class Bare(BaseException):
    pass

class SaysText(Exception):
    def __str__(self):
        return Text("what a text says")

class Wait(RetryAfter):
    seconds = property(lambda self: raising(), lambda self, value: None)

def nested(depth):
    error = ValueError("innermost")
    for number in range(depth):
        error = ExceptionGroup(f"group {number}", [error, TypeError(f"beside {number}")])
    return error

def noted(notes):
    error = ValueError("noted")
    error.__notes__ = notes
    return error

def down(n):
    if n:
        down(n - 1)
    raise ValueError("the bottom")

def down_100_000():
    sys.setrecursionlimit(200_000)
    try:
        down(100_000)
    except ValueError as error:
        return error

def long_line():
    try:
        exec(compile("x = 1; raise ValueError('long') #" + "x" * 1_000_000, "f" * 1_000_000, "exec"))
    except ValueError as error:
        return error

def unpicklable():
    class Odd:
        __reduce__ = raising
    try:
        pickle.dumps(Odd())
    except LookupError as error:
        return error

def group_of(error):
    return ExceptionGroup("group", [error] * 1000)

ODD = {
    "long-cause": lambda: chain(1000, "__cause__"), "long-context": lambda: chain(1000, "__context__"),
    "cyclic-cause": lambda: cycle("__cause__"), "cyclic-context": lambda: cycle("__context__"),
    "str-raises": StrRaises, "str-exits": StrExits, "str-is-none": StrIsNone, "str-is-endless": StrIsEndless,
    "cause-raises": lambda: CauseRaises("hidden"), "class-raises": lambda: ClassRaises("lying"),
    "traceback-raises": TracebackRaises, "wait": lambda: Wait(5),
    "endless-group": lambda: ExceptionGroup("endless", [StrIsEndless() for _ in range(100)]),
    "huge-args": lambda: ValueError("x" * 100_000_000),
    "huge-tuple": lambda: ValueError("x" * 20_000_000, b"y" * 20_000_000),
    "huge-object": lambda: KeyError([0] * 5_000_000),
    "str-subclass": lambda: ValueError(Text("sub")), "says-text": SaysText,
    "exit-object": lambda: SystemExit(StrRaises()), "exit-huge": lambda: SystemExit(10**4000), "exit-none": SystemExit,
    "nested-groups": lambda: nested(500), "wide-group": lambda: group_of(ValueError("same")),
    "deep-traceback": down_100_000, "surrogates": lambda: ValueError("nul \\0 half \\ud800 end"),
    "surrogate-name": lambda: type("Odd", (Exception,), {"__qualname__": "O\\ud800", "__module__": "m\\0"})("x"),
    "huge-name": lambda: type("N" * 1_000_000, (Exception,), {})("x"),
    "named": lambda: Named("meta"), "moduleless": lambda: Moduleless("x"), "bare": lambda: Bare("base"),
    "unpicklable": unpicklable, "notes-odd": lambda: noted(7), "notes-many": lambda: noted(["note"] * 100_000),
    "notes-text": lambda: noted([Text("x"), 1]), "syntax": lambda: SyntaxError("odd", (Text("f"), 1, 2, "t")),
    "syntax-huge": lambda: SyntaxError("odd", ("f", 1, 2, "t" * 10_000_000)),
    "long-line": long_line, "interrupt": KeyboardInterrupt, "generator": GeneratorExit,
    "unicode": lambda: UnicodeDecodeError("utf-8", b"x" * 1000, 0, 1, "odd"),
    "os": lambda: OSError(2, "no", "f" * 100_000),
}

@task(id="raises")
def raises(kind: str):
    raise ODD[kind]()

@task(id="raises-async")
async def raises_async(kind: str):
    raise ODD[kind]()
"""

SAID = {
    "long-cause": "number 999", "long-context": "number 999", "cyclic-cause": "one", "cyclic-context": "one",
    "str-raises": "raised LookupError", "str-exits": "raised SystemExit", "str-is-none": "raised TypeError",
    "str-is-endless": "took longer", "cause-raises": "hidden",
    "class-raises": "lying", "traceback-raises": "", "wait": "retry after", "endless-group": "endless",
    "huge-args": "characters cut", "huge-tuple": "characters cut", "huge-object": "characters cut",
    "str-subclass": "", "says-text": "what a text says", "exit-object": "raised LookupError", "exit-huge": "1000",
    "exit-none": "", "nested-groups": "group 499", "wide-group": "1000 sub-exceptions", "deep-traceback": "the bottom",
    "surrogates": "nul \N{REPLACEMENT CHARACTER} half ? end", "surrogate-name": "x", "huge-name": "x", "named": "meta",
    "moduleless": "x", "bare": "base", "unpicklable": "asked", "notes-odd": "noted", "notes-many": "noted",
    "notes-text": "noted", "syntax": "odd", "syntax-huge": "odd", "long-line": "long", "interrupt": "", "generator": "",
    "unicode": "odd", "os": "no",
}  # fmt: skip

ASYNCIO_LOOKS_AT = (
    "interrupt",
    "generator",
    "class-raises",
    "nested-groups",
    "str-raises",
    "str-exits",
    "str-is-endless",
)
"""Asks the failure for its `repr`, class and type before anybody else sees it."""


@pytest.mark.parametrize("task", ["raises", "raises-async"])
def test_every_odd_error_is_described_and_bounded(proxy: Proxy, tmp_path: Path, task: str) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    for kind, words in SAID.items():
        if task == "raises-async" and kind in ASYNCIO_LOOKS_AT:
            continue
        attempt = proxy.run(task, b'{"kind": "%s"}' % kind.encode(), folder=tmp_path)
        exited = attempt.end(60)
        frames = attempt.of("failed")

        assert (kind, len(frames), exited.header["exit_code"]) == (kind, 1, 0), attempt.lines("stderr", "system")
        error = frames[0].header["error"]
        # Code that asks such an exception on the way, as asyncio does, gets what it raises: then that is the failure.
        assert words in error["message"] or error["message"] == "asked", (kind, error)
        assert len(error["message"].encode()) <= MESSAGE_MAX_BYTES, kind
        assert len(error["type"]) <= 450, kind
        assert 0 < len(error["stack"].encode()) <= STACK_MAX_BYTES, kind
        assert "\0" not in error["message"] + error["type"] + error["stack"], kind


def test_stack_of_a_hundred_thousand_frames_shows_both_ends(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("raises", b'{"kind": "deep-traceback"}', folder=tmp_path)
    attempt.end(60)
    stack = attempt.of("failed")[0].header["error"]["stack"]

    assert "frames left out" in stack
    assert stack.rstrip().endswith("ValueError: the bottom")


def test_stack_of_a_thousand_causes_shows_both_ends(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("raises", b'{"kind": "long-cause"}', folder=tmp_path)
    attempt.end(60)
    stack = attempt.of("failed")[0].header["error"]["stack"]

    assert stack.startswith("ValueError: the first")
    assert "981 exceptions of the chain are left out" in stack
    assert stack.rstrip().endswith("ValueError: number 999")
