"""Hints: code that works but costs too much gets one hint; what a careful author would write gets none."""

import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest
from trigger_sdk.tasks import registry

Load = Callable[[str], ModuleType]


def hints(load: Load, body: str, head: str = "def t(a, b=1):") -> list[tuple[int, int, str]]:
    """Line, column and code of each; the body begins on line 4."""
    load(f"@task('t')\n{head}\n" + textwrap.indent(textwrap.dedent(body), "    "))
    found = registry["t"].hints()
    assert all(problem.severity == "hint" for problem in found)
    return [(problem.line, problem.column, problem.code) for problem in found]


UNUSED = {
    "read nowhere": ("x = a\ncheckpoint('k', x=x)\nreturn a", (5, 23)),
    "in a dict": ("x = a\ncheckpoint('k', {'x': x})\nreturn a", (5, 27)),
    "bound again before it is read": ("x = a\ncheckpoint('k', x=x)\nx = 2\nreturn x", (5, 23)),
    "bound again in all branches": (
        "x = a\ncheckpoint('k', x=x)\nif a: x = 2\nelse: x = 3\nreturn x",
        (5, 23),
    ),
    "read before only": ("x = a\nprint(x)\ncheckpoint('k', x=x)\nreturn a", (6, 23)),
    "a parameter": ("checkpoint('k', a=a)\nreturn b", (4, 23)),
    "read in the other branch": ("x = 1\nif a:\n  checkpoint('k', x=x)\nelse:\n  print(x)", (6, 25)),
    "bound by a loop and read in it": ("x = a\ncheckpoint('k', x=x)\nfor x in b: print(x)", (5, 23)),
}


@pytest.mark.parametrize(("body", "place"), UNUSED.values(), ids=UNUSED.keys())
def test_value_that_nothing_reads_after_its_checkpoint_is_a_hint(load: Load, body: str, place: tuple[int, int]) -> None:
    assert hints(load, body) == [(*place, "unused_value")]


def test_value_that_is_saved_again_and_never_read_is_two_hints(load: Load) -> None:
    body = "x = a\ncheckpoint('k', x=x)\nprint(a)\ncheckpoint('m', x=x)\nreturn a"

    assert hints(load, body) == [(5, 23, "unused_value"), (7, 23, "unused_value")]


USED = {
    "read after it": "x = a\ncheckpoint('k', x=x)\nreturn x",
    "read after a later point": "x = a\ncheckpoint('k', x=x)\nprint()\ncheckpoint('m')\nreturn x",
    "read in a later point's expression": "x = a\ncheckpoint('k', x=x)\nprint()\ncheckpoint('m', {'n': len(x)})",
    "read in a handler": "x = a\ncheckpoint('k', x=x)\ntry: a()\nexcept E: print(x)",
    "read in finally": "x = a\ntry:\n  checkpoint('k', x=x)\nfinally: print(x)",
    "read in one branch": "x = a\ncheckpoint('k', x=x)\nif b: print(x)",
    "read in a loop before it is bound again": "x = a\ncheckpoint('k', x=x)\nwhile x: x = a()",
    "read after a loop over nothing": "x = a\ncheckpoint('k', x=x)\nfor x in b: pass\nreturn x",
    "read by a nested function": "x = a\ndef f(): return x\ncheckpoint('k', x=x)\nreturn f()",
    "read by a lambda after it": "x = a\ncheckpoint('k', x=x)\nreturn lambda: x",
    "read by a comprehension": "x = a\ncheckpoint('k', x=x)\nreturn [x for _ in a]",
    "read by a with that is entered again": "x = a\nwith a(x):\n  checkpoint('k', x=x)\n  print()",
    "read by augmented assignment": "x = a\ncheckpoint('k', x=x)\nx += 1",
    "saved for people": "x = a\ncheckpoint('k', {'size': len(x)})\nreturn a",
    "a global for people": "checkpoint('k', {'E': E})\nreturn a",
    "no checkpoint": "x = a\nreturn a",
}


@pytest.mark.parametrize("body", USED.values(), ids=USED.keys())
def test_value_that_may_be_read_is_not_a_hint(load: Load, body: str) -> None:
    assert hints(load, body) == []


def test_example_of_the_contract_has_no_hint(load: Load) -> None:
    body = """
        order = db.fetch_order(a)
        checkpoint("order-fetched", {"order": order})
        payment = stripe.charge(order)
        checkpoint("payment-complete", {"payment": payment})
        db.decrement_inventory(order["product_id"])
        return {"order_id": a, "payment_id": payment["id"]}
    """

    assert hints(load, body) == []


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("checkpoint('k')\ncheckpoint('m')", [5]),
        ("checkpoint('k')\ncheckpoint('m')\ncheckpoint('n')", [5, 6]),
        ("if a:\n  checkpoint('k')\n  checkpoint('m')", [6]),
        ("try: a()\nexcept E: pass\nelse:\n  checkpoint('k')\n  checkpoint('m')", [8]),
        ("checkpoint('k')\nprint()\ncheckpoint('m')", []),
        ("if a: checkpoint('k')\ncheckpoint('m')", []),
    ],
)
def test_checkpoints_with_nothing_between_them_are_a_hint(load: Load, body: str, lines: list[int]) -> None:
    assert [(line, code) for line, _, code in hints(load, body)] == [(line, "empty_segment") for line in lines]


def test_hint_tells_what_to_do(load: Load) -> None:
    load("@task('t')\nasync def t():\n    x = 1\n    await checkpoint('k', x=x)\n")

    (hint,) = registry["t"].hints()

    assert str(hint).endswith(
        ":5:29: hint: `x` is saved by 'k' and nothing after it reads `x`: leave it out, or save only what people want "
        "to see of it, as an entry under another name [unused_value]"
    )
