"""Reads what a task raised without trusting it: a bounded tree of plain exceptions that look like the originals.

Does not know how it is shown; `failures.py` does. Calls into the task's own code are guarded by
`except BaseException`: whatever that code raises only means that there is no answer.
"""

import linecache
import threading
import time
import traceback
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import Any

from trigger_sdk.agent.reports.output import clean_text
from trigger_sdk.run.deadlines import TimeLimitReached, call_within

CHAIN_KEPT = 10
"""How many links of a longer chain of causes are kept at each end."""
WALK_MAX = 100_000
GROUP_DEPTH_MAX = 10
GROUP_WIDTH_MAX = 15
EXCEPTIONS_MAX = 100
"""The most exceptions in one tree, groups included."""
NAME_MAX_BYTES = 200
TEXT_MAX_BYTES = 8 * 1024
"""The limit of one message in a stack."""
NOTES_MAX = 10
LINE_MAX_CHARACTERS = 300
SAYING_SECONDS = 5.0
"""How long the `__str__` methods of one error's exceptions may take in total."""

_SAYING_THEIR_ARGUMENT = (Exception, ValueError, RuntimeError)
_SUGGESTING = (NameError, UnboundLocalError, AttributeError, ImportError, ModuleNotFoundError)
_OF_SYNTAX = (SyntaxError, IndentationError, TabError)
_CAUSE, _CONTEXT, _TRACEBACK = (
    BaseException.__dict__[name].__get__ for name in ("__cause__", "__context__", "__traceback__")
)
_HIDES_CONTEXT = BaseException.__dict__["__suppress_context__"].__get__
_ARGUMENTS = BaseException.__dict__["args"].__get__
_OWN_ENTRIES = BaseException.__dict__.get("__dict__")
_INNER = BaseExceptionGroup.__dict__["exceptions"].__get__
_QUALNAME, _MODULE = type.__dict__["__qualname__"].__get__, type.__dict__["__module__"].__get__


class Frames:
    """The frames of one traceback, outermost first; only those shown are made into summaries."""

    def __init__(self, trace: TracebackType | None) -> None:
        self._entries: list[TracebackType] = []
        while trace is not None and len(self._entries) < WALK_MAX * 10:
            self._entries.append(trace)
            trace = trace.tb_next

    def file_names(self) -> list[str]:
        return [entry.tb_frame.f_code.co_filename for entry in self._entries]

    def summary(self, place: int) -> traceback.FrameSummary:
        entry = self._entries[place]
        code = entry.tb_frame.f_code
        line, end_line, column, end_column = next(
            islice(code.co_positions(), entry.tb_lasti // 2, None), (None, None, None, None)
        )
        number = line or entry.tb_lineno
        text = _line(code.co_filename, number, entry.tb_frame.f_globals)
        file, name = _cut(code.co_filename), _cut(code.co_name)
        if len(text) > LINE_MAX_CHARACTERS or file != code.co_filename:
            return traceback.FrameSummary(file, number, name, lookup_line=False, line=_cut(text))
        return traceback.FrameSummary(
            file, number, name, lookup_line=False, end_lineno=end_line, colno=column, end_colno=end_column
        )


def _cut(text: str) -> str:
    return text if len(text) <= LINE_MAX_CHARACTERS else f"{text[:LINE_MAX_CHARACTERS]} …"


def _line(file: str, number: int, names: dict[str, Any]) -> str:
    try:
        linecache.lazycache(file, names)
        return linecache.getline(file, number)
    except BaseException:  # a loader of the task's own
        return ""


class Plain:
    """What a stand-in has besides being an exception."""

    frames: Frames


def plain_of(error: BaseException, sayings: "Sayings") -> BaseException:
    """A stand-in for the exception with everything attached to it, at most EXCEPTIONS_MAX."""
    return _Copying(sayings).copy(error, depth=1)


class _Copying:
    def __init__(self, sayings: "Sayings") -> None:
        self._sayings = sayings
        self._left = EXCEPTIONS_MAX
        self._seen: set[int] = set()

    def copy(self, error: BaseException, depth: int) -> BaseException:
        """A stand-in for a chain: the exception, what caused it, and so on; groups are entered to a limited depth."""
        links, left_out = self._chain(error)
        copies = [self._one(link, depth) for link, _ in links]
        for place, (copy, (_, is_cause)) in enumerate(zip(copies[:-1], links[:-1], strict=True)):
            following = copies[place + 1]
            if left_out and place == CHAIN_KEPT - 1:
                following.add_note(f"… {left_out:,} exceptions of the chain are left out …")
            if is_cause:
                copy.__cause__ = following
            else:
                copy.__context__ = following
        return copies[0]

    def _chain(self, error: BaseException) -> tuple[list[tuple[BaseException, bool]], int]:
        """The links, each with whether the next one is its cause (else its context), and how many are left out."""
        links: list[tuple[BaseException, bool]] = []
        link: BaseException | None = error
        while link is not None and id(link) not in self._seen and len(links) < WALK_MAX:
            self._seen.add(id(link))
            cause = _CAUSE(link)
            links.append((link, cause is not None))
            link = cause if cause is not None else None if _HIDES_CONTEXT(link) else _CONTEXT(link)
        if len(links) <= 2 * CHAIN_KEPT:
            return links, 0
        return [*links[:CHAIN_KEPT], *links[-CHAIN_KEPT:]], len(links) - 2 * CHAIN_KEPT

    def _one(self, error: BaseException, depth: int) -> BaseException:
        self._left -= 1
        inner = self._inner(error, depth)
        text = _clean(_with_suggestion(error, self._sayings) or self._sayings.of(error))
        copy = _stand_in(error, text, inner)
        if isinstance(copy, Plain):
            copy.frames = Frames(_TRACEBACK(error))
        for note in _notes(error):
            copy.add_note(note)
        if issubclass(type(error), BaseExceptionGroup) and (missing := len(_INNER(error)) - len(inner)):
            copy.add_note(f"… {missing:,} exceptions of this group are left out …")
        return copy

    def _inner(self, error: BaseException, depth: int) -> list[BaseException]:
        if not issubclass(type(error), BaseExceptionGroup) or depth >= GROUP_DEPTH_MAX:
            return []
        return [
            self.copy(each, depth + 1)
            for each in _INNER(error)[:GROUP_WIDTH_MAX]
            if self._left > 0 and id(each) not in self._seen
        ]


def _stand_in(error: BaseException, text: str, inner: list[BaseException]) -> BaseException:
    kind = type(error)
    base = BaseExceptionGroup if inner else BaseException
    if _is_one_of(kind, _OF_SYNTAX):
        base = kind  # its formatting shows the source line
    module = _MODULE(kind)
    names = {
        "__module__": _clean(module, NAME_MAX_BYTES) if isinstance(module, str) else "builtins",
        "__qualname__": _clean(_QUALNAME(kind), NAME_MAX_BYTES),
        "__str__": lambda _: text,
    }
    stand_in = type("StandIn", (base, Plain), names)
    if inner:
        return stand_in("", inner)  # type: ignore[no-any-return]
    return stand_in(*_of_syntax(error)) if _is_one_of(kind, _OF_SYNTAX) else stand_in()  # type: ignore[no-any-return]


def _is_one_of(kind: type, kinds: tuple[type, ...]) -> bool:
    """Compares by identity: `in` would ask the metaclass whether they are equal."""
    return any(kind is each for each in kinds)


def _of_syntax(error: BaseException) -> tuple[Any, ...]:
    """The arguments of a SyntaxError as the parser makes them; nothing if the task built it itself."""
    try:
        message, place = _ARGUMENTS(error)
        file, line, column, text, *end = place
    except (TypeError, ValueError):
        return ()
    is_plain = all(type(each) is int for each in (line, column, *end)) and type(file) is type(text) is str
    if not is_plain or len(end) not in (0, 2) or len(text) > LINE_MAX_CHARACTERS:
        return ()
    return _clean(message), (_clean(file), line, column, _clean(text), *end)


def _with_suggestion(error: BaseException, sayings: "Sayings") -> str:
    """The message for a misspelt name with the interpreter's "Did you mean"; empty if there is none."""
    if not _is_one_of(type(error), _SUGGESTING) or _CAUSE(error) is not None or _CONTEXT(error) is not None:
        return ""

    def suggest() -> str:
        report = traceback.TracebackException(type(error), error, _TRACEBACK(error), limit=0)
        return "".join(report.format_exception_only()).rstrip("\n").partition(": ")[2]

    try:
        return sayings.in_time(suggest)
    except BaseException:
        return ""


def members(group: BaseException) -> tuple[BaseException, ...]:
    """The exceptions in a group, whatever its class says."""
    return _INNER(group)  # type: ignore[no-any-return]


class Sayings:
    """The messages of exceptions, each asked once, all of them within SAYING_SECONDS."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + SAYING_SECONDS
        self._known: dict[int, str] = {}

    def of(self, error: BaseException) -> str:
        """What `str()` returns; if `str()` raises or takes too long, a note that says so."""
        if id(error) not in self._known:
            self._known[id(error)] = self._ask(error)
        return self._known[id(error)]

    def _ask(self, error: BaseException) -> str:
        arguments = _ARGUMENTS(error)
        if _is_one_of(type(error), _SAYING_THEIR_ARGUMENT) and len(arguments) == 1 and type(arguments[0]) is str:
            return arguments[0]  # it may be far too long to copy
        try:
            return str.__str__(self.in_time(lambda: str(error)))
        except TimeLimitReached:
            return f"<no message: str() of the exception took longer than {SAYING_SECONDS:g} s>"
        except BaseException as failure:
            return f"<no message: str() of the exception raised {kind_name(type(failure))}>"

    def in_time(self, ask: Callable[[], str]) -> str:
        """Raises TimeLimitReached; outside the main thread there is no limit, because nothing could end the call."""
        if threading.current_thread() is not threading.main_thread():
            return ask()
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeLimitReached
        return call_within(left, ask, may_interrupt=lambda: True)


def kind_name(kind: type[BaseException]) -> str:
    """The class's dotted name; its metaclass has no say in it."""
    module, name = _MODULE(kind), _clean(_QUALNAME(kind), NAME_MAX_BYTES)
    if not isinstance(module, str) or str.__str__(module) == "builtins":
        return name
    return f"{_clean(module, NAME_MAX_BYTES)}.{name}"


def _notes(error: BaseException) -> list[str]:
    try:
        entries = _OWN_ENTRIES.__get__(error) if _OWN_ENTRIES is not None else vars(error)
        notes = dict.get(entries, "__notes__")
    except BaseException:
        return []
    if type(notes) is not list:
        return []
    return [_clean(note) for note in notes[:NOTES_MAX] if isinstance(note, str)]


def _clean(text: Any, max_bytes: int = TEXT_MAX_BYTES) -> str:
    return bounded(str.__str__(text), max_bytes) if isinstance(text, str) else ""


def bounded(text: str, max_bytes: int) -> str:
    """The text in a form that Postgres accepts; a far longer one is never copied whole."""
    if len(text) <= max_bytes:
        return clean_text(text, max_bytes=max_bytes)
    kept = clean_text(text[: max(0, max_bytes - 40)], max_bytes=max_bytes)
    return f"{kept[: max_bytes - 40]} … [{len(text) - max_bytes + 40:,} characters cut]"
