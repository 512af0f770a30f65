"""Usual mistakes with arguments, and saved names that can never be stored: one message each, with the right form."""

import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest
from trigger_sdk.errors import Problem, RegistrationError
from trigger_sdk.tasks import registry

Load = Callable[[str], ModuleType]
HEAD = """\
import functools, logging, sqlite3, threading
from dataclasses import dataclass
from trigger_sdk import Retry, step

@task('t')
def t(a=1):
"""
LATER = """
def fetch(n: int, *, deep: bool = False) -> int:
    return n

async def afetch(n: int) -> int:
    return n

def connect() -> sqlite3.Connection:
    return sqlite3.connect("x")

class Plain:
    pass

@dataclass
class Order:
    id: str

def make():
    return fetch
"""


def found(load: Load, body: str) -> list[Problem]:
    """What the check says at once, else what it says when the module is loaded."""
    try:
        load(HEAD + textwrap.indent(textwrap.dedent(body), "    ") + "\n" + LATER)
        registry["t"].check_late()
    except RegistrationError as error:
        return list(error.problems)
    return []


CHECKPOINTS = {
    "the key by name": ("checkpoint(key='b', a=a)", "arguments", "`checkpoint('b', …)`"),
    "names by position": ("x = y = 1\ncheckpoint('k', x, y)\nreturn x, y", "arguments", "`checkpoint('k', x=x, y=y)`"),
    "one name by position": ("x = 1\ncheckpoint('k', x)\nreturn x", "computed_data", "`x=x` saves `x` itself"),
    "the dict by name": ("x = 1\ncheckpoint('k', data={'x': x})\nreturn x", "arguments", "`checkpoint('k', {'x': x})`"),
    "two without a key": ("checkpoint(key='b')\ncheckpoint(key='c')", "arguments", "comes first"),
}


@pytest.mark.parametrize(("body", "code", "form"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_mistake_in_a_checkpoint_gets_one_message(load: Load, body: str, code: str, form: str) -> None:
    problems = found(load, body)

    assert {problem.code for problem in problems} == {code}
    assert len({problem.line for problem in problems}) == len(problems)
    assert form in problems[0].message


STEPS = {
    "an option that it has not": ("step('k', fetch, 1, retries=3)", "the options of a step are `retry=Retry(…)`"),
    "a missing argument": ("step('k', fetch)", "missing a required argument: 'n'"),
    "too many arguments": ("step('k', fetch, 1, 2)", "too many positional arguments"),
    "no key": ("step(fetch, 3)", '`step("fetch", fetch, …)`'),
    "key and function by name": ("step(key='k', function=fetch)", "come first, without names"),
    "the function called": ("step('k', fetch(3))", "`step('k', fetch, 3)`"),
    "the coroutine function called": ("step('k', afetch(n=1))", "`step('k', afetch, n=1)`"),
    "a text for a function": ("step('k', 'fetch')", "the second argument of a step is a function, not 'fetch'"),
    "no function": ("step('k', retry=Retry(max_attempts=2))", "this step has no function"),
    "in a nested function": ("def f():\n    return step('k', fetch)\nreturn f()", "missing a required argument"),
}


@pytest.mark.parametrize(("body", "form"), STEPS.values(), ids=STEPS.keys())
def test_mistake_in_a_step_gets_one_message(load: Load, body: str, form: str) -> None:
    (problem,) = found(load, body)

    assert problem.code == "step_arguments"
    assert form in problem.message


@pytest.mark.parametrize(
    "body",
    [
        "step('k', fetch, 1, deep=True, retry=Retry(max_attempts=2), timeout=3)",
        "step('k', fetch, *[1])",
        "step('k', fetch, **{'n': 1})",
        "step('k', make(), 1)",
        "step('k', functools.partial(fetch, 1))",
        "step('k', print, 1, 2, 3)",
        "@step('k-{n}', retry=Retry(max_attempts=2))\ndef f(n): return n\nf(1)",
        "@step\ndef f(n): return n\nf(1)",
        "f = step('k')(fetch)\nf(1)",
        "checkpoint('k', data=a, key=a)",
        "checkpoint('k', data={'n': 1})",
    ],
)
def test_right_arguments_are_accepted(load: Load, body: str) -> None:
    assert found(load, body) == []


UNSTORABLE = {
    "a connection": ("sqlite3.connect('x')", "mark the line that makes it with `# trigger: again`"),
    "what a function says it returns": ("connect()", "a sqlite3.Connection cannot be stored"),
    "a logger": ("logging.getLogger('x')", "create it at the top of the file"),
    "a lock": ("threading.Lock()", "# trigger: again"),
    "an open file": ("open('x')", "save what was read from it"),
    "a generator": ("(n for n in (1, 2))", "make a list of it, `x = [n for n in (1, 2)]`"),
    "a lambda": ("lambda: 1", "write a nested function"),
    "an object of a plain class": ("Plain()", "Plain cannot be stored: save the data"),
    "an iterator": ("zip((1,), (2,))", "a zip cannot be stored"),
}


@pytest.mark.parametrize(("value", "way"), UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_saved_name_that_can_never_be_stored_is_refused(load: Load, value: str, way: str) -> None:
    (problem,) = found(load, f"x = {value}\ncheckpoint('k', x=x)\nreturn x")

    assert problem.code == "unstorable"
    assert way in problem.message


@pytest.mark.parametrize(
    "value",
    ["fetch(1)", "Order('a')", "dict(a=1)", "str(a)", "a.load()", "make()", "Plain() if a else None", "[Plain()]"],
)
def test_saved_name_that_may_be_storable_is_accepted(load: Load, value: str) -> None:
    assert found(load, f"x = {value}\ncheckpoint('k', x=x)\nreturn x") == []


def test_advice_of_the_hint_is_accepted(load: Load) -> None:
    load(HEAD + "    total = a * 2\n    checkpoint('k', total=total)\n    return a\n")
    (hint,) = registry["t"].hints()
    assert "as an entry under another name" in hint.message
    registry.clear()

    assert found(load, "total = a * 2\ncheckpoint('k', {'rows_seen': total})\nreturn a") == []


def test_name_saved_otherwise_is_refused_once_where_it_is_read(load: Load) -> None:
    body = "x = fetch(1)\ncheckpoint('k', {'o': x, 'a': a + 1})\ncheckpoint('m', {'x': 3})\nreturn x, a"

    assert [(p.line, p.code) for p in found(load, body)] == [(9, "renamed"), (10, "other_value")]
