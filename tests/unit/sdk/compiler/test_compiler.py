"""The check at registration: what could not resume is refused, with its line and what to do instead."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry

from tests.unit.sdk.sources import load_module

Load = Callable[[str], ModuleType]


def test_name_that_would_not_exist_is_refused_in_the_words_of_the_contract(load: Load) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load("""
            import decimal

            @task("t")
            def t():
                client = decimal.Context()
                other = 1
                order = {}
                checkpoint("order-fetched", order=order)
                other = 2



                return client, order, other
        """)

    assert refusal.value.line == 14
    assert refusal.value.message == (
        "`client` is used on line 14 but would not exist after resuming from 'order-fetched' (line 9): "
        "save it, or create it after the checkpoint"
    )
    assert len(refusal.value.problems) == 1
    assert refusal.value.file.endswith(".py")
    assert "t" not in registry


# The body of a task `t(a, b=1)` whose `def` is line 3, then the line and code of the refusal, and part of its text.
REFUSED = {
    "read in a later checkpoint": ("x = 1; checkpoint('k'); checkpoint('m', x=x)", 4, "lost_name", "`x` is used"),
    "read by a nested function before": (
        "x = 1\ndef f(): return x\ncheckpoint('k')\nreturn f()",
        5,
        "lost_name",
        "`x` is used on line 5",
    ),
    "read by a later nested function": ("x = 1\ncheckpoint('k')\ndef f(): return x\nreturn f", 6, "lost_name", "`x`"),
    "read by a lambda": ("x = 1\ncheckpoint('k')\nreturn lambda: x", 6, "lost_name", "`x`"),
    "read by a comprehension": ("x = 1\ncheckpoint('k')\nreturn [x for _ in a]", 6, "lost_name", "`x`"),
    "read by augmented assignment": ("x = 1\ncheckpoint('k')\nx += 1", 6, "lost_name", "`x`"),
    "read in a loop": ("x = 1\ncheckpoint('k')\nfor i in a:\n  print(x)\n  x = i", 7, "lost_name", "`x`"),
    "read in finally": ("x = 1\ntry:\n  checkpoint('k')\nfinally:\n  print(x)", 8, "lost_name", "`x`"),
    "read in a handler": ("x = 1\ntry:\n  checkpoint('k')\n  a()\nexcept E: print(x)", 8, "lost_name", "`x`"),
    "bound in one branch only": (
        "if a:\n  x = 1\n  checkpoint('k', x=x)\nelse: x = 2\ncheckpoint('m')\nreturn x",
        9,
        "lost_name",
        "'m'",
    ),
    "saved in a try that may skip it": (
        "x = 1\ntry: checkpoint('k', x=x)\nexcept E: pass\ncheckpoint('m')\nreturn x",
        8,
        "lost_name",
        "resuming from 'm'",
    ),
    "saved in a with that may skip it": (
        "x = a()\nwith suppress(E):\n  b()\n  checkpoint('k', x=x)\ncheckpoint('m')\nreturn x",
        9,
        "lost_name",
        "resuming from 'm'",
    ),
    "read in finally on the way out": (
        "x = 1\ntry:\n  checkpoint('k')\n  return a\nfinally: print(x)",
        8,
        "lost_name",
        "`x`",
    ),
    "bound by a loop": ("for x in a: pass\ncheckpoint('k')\nreturn x", 6, "lost_name", "`x`"),
    "bound by a walrus": ("if (x := a): pass\ncheckpoint('k')\nreturn x", 6, "lost_name", "`x`"),
    "bound by a case": ("match a:\n  case [x]: pass\ncheckpoint('k')\nreturn x", 7, "lost_name", "`x`"),
    "bound by a class": ("class C: pass\ncheckpoint('k')\nreturn C", 6, "lost_name", "`C`"),
    "imported in a branch": ("if a:\n  import json\ncheckpoint('k')\nreturn json", 7, "lost_name", "`json`"),
    "rebound parameter": ("a = int(a)\ncheckpoint('k')\nreturn a", 6, "lost_name", "value from line 4 would be lost"),
    "import bound again": ("import json\njson = 1\ncheckpoint('k')\nreturn json", 7, "lost_name", "`json`"),
    "set by a nested function": (
        "def f():\n  nonlocal x\n  x = 1\nf()\ncheckpoint('k')\nif a: x = 2\nreturn x",
        10,
        "lost_name",
        "`x`",
    ),
    "with reads what a nested function binds": (
        "n = 1\nwith a(n):\n  def f():\n    nonlocal n\n    n = 2\n  f()\n  checkpoint('k', n=n)\n  print(n)",
        5,
        "rerun_rebound",
        "`n`, which a nested function binds again",
    ),
    "with reads what a later item binds": (
        "n = 1\nwith a(n), a(n := 2):\n  checkpoint('k')\nreturn n",
        5,
        "lost_name",
        "`n`",
    ),
    "with reads the name that it binds": (
        "c = [1]\nwith a(c) as c:\n  checkpoint('k')\nreturn c",
        5,
        "rerun_rebound",
        "use another name there",
    ),
    "read of a caught error": (
        "try: a()\nexcept E as error: kept = error\ncheckpoint('k')\nreturn kept",
        7,
        "lost_name",
        "`kept`",
    ),
    "with target saved": (
        "with a() as x:\n  checkpoint('k', x=x)\n  print(x)",
        4,
        "rerun_saved",
        "`x` is bound on line 4",
    ),
    "import saved": ("import json\ncheckpoint('k', json=json)\nreturn json", 4, "rerun_saved", "`json`"),
    "with reads what is bound again": (
        "n = 1\nwith a(n):\n  n = 2\n  checkpoint('k', n=n)\n  print(n)",
        5,
        "rerun_rebound",
        "`n`, which line 6 binds again",
    ),
    "with reads what is not saved": ("n = 1\nwith a(n):\n  checkpoint('k')\n  print()", 5, "lost_name", "`n`"),
    "with used on both sides": (
        "with a() as f:\n  f.write(1)\n  checkpoint('k')\n  f.write(2)",
        4,
        "with_state",
        "`f` is used on line 5 before",
    ),
    "transaction": ("with a.atomic():\n  checkpoint('k')", 4, "transaction", "# trigger: re-enter"),
    "transaction begun": ("with a, b.begin() as tx:\n  checkpoint('k')", 4, "transaction", "rollback"),
    "task group": ("with asyncio.TaskGroup() as g:\n  checkpoint('k')", 4, "gathering_with", "re-entered"),
    "duplicate key": ("checkpoint('k')\ncheckpoint('k')", 5, "duplicate_key", "already used on line 4"),
    "duplicate key in branches": ("if a: checkpoint('k')\nelse: checkpoint('k')", 5, "duplicate_key", "unique"),
    "computed key": ("checkpoint(f'k{a}')", 4, "key_not_literal", "a literal text"),
    "no key": ("checkpoint()", 4, "key_not_literal", "a literal text"),
    "empty key": ("checkpoint('')", 4, "key_length", "1 to 200"),
    "long key": (f"checkpoint('{'k' * 201}')", 4, "key_length", "not 201"),
    "NUL in the key": ("checkpoint('a\\0b')", 4, "key_text", "NUL"),
    "for loop": ("for i in a:\n  checkpoint('k')", 5, "checkpoint_in_loop", "after the loop"),
    "while loop": ("while a:\n  if a:\n    checkpoint('k')", 6, "checkpoint_in_loop", "after the loop"),
    "loop's else": ("for i in a: pass\nelse: checkpoint('k')", 5, "checkpoint_in_loop", "after the loop"),
    "except": ("try: a()\nexcept E:\n  checkpoint('k')", 6, "checkpoint_in_handler", "after the `try`"),
    "except group": ("try: a()\nexcept* E:\n  checkpoint('k')", 6, "checkpoint_in_handler", "after the `try`"),
    "finally": ("try: a()\nfinally:\n  checkpoint('k')", 6, "checkpoint_in_finally", "after the `try`"),
    "nested function": ("def f():\n  checkpoint('k')", 5, "checkpoint_in_nested", "task's own body"),
    "lambda": ("f = lambda: checkpoint('k')", 4, "checkpoint_in_nested", "task's own body"),
    "class": ("class C:\n  checkpoint('k')", 5, "checkpoint_in_nested", "task's own body"),
    "comprehension": ("[checkpoint('k') for i in a]", 4, "checkpoint_in_comprehension", "save once after it"),
    "expression": ("x = checkpoint('k')", 4, "checkpoint_in_expression", "its own statement"),
    "condition": ("if checkpoint('k'): pass", 4, "checkpoint_in_expression", "its own statement"),
    "as a value": ("save = checkpoint", 4, "checkpoint_in_expression", "its own statement"),
    "renamed": (
        "order = 1\ncheckpoint('k', {'o': order})\nreturn order",
        5,
        "renamed",
        "`order` is saved under another name",
    ),
    "other value": ("n = 1\ncheckpoint('k', {'n': n + 1})\nreturn n", 5, "other_value", "assign it first"),
    "unpacked dict": ("checkpoint('k', {**a})", 4, "unpacked_data", "write out the names"),
    "unpacked call": ("checkpoint('k', **a)", 4, "unpacked_data", "write out the names"),
    "computed dict": ("checkpoint('k', a)", 4, "computed_data", "written out"),
    "computed data key": ("checkpoint('k', {a: 1})", 4, "computed_data", "literal text"),
    "data key twice": ("x = 1\ncheckpoint('k', {'x': x}, x=x)", 5, "duplicate_name", "saved twice"),
    "three arguments": ("checkpoint('k', {}, {})", 4, "arguments", "at most one dict"),
    "locals": ("checkpoint('k')\nlocals()", 5, "hidden_names", "`locals`"),
    "eval in a nested function": ("def f(): eval('a')\ncheckpoint('k')", 4, "hidden_names", "`eval`"),
    "exec": ("exec('a')\ncheckpoint('k')", 4, "hidden_names", "`exec`"),
    "vars": ("vars()\ncheckpoint('k')", 4, "hidden_names", "`vars`"),
    "del": ("x = 1\ncheckpoint('k', x=x)\ndel x", 6, "deleted_name", "None instead"),
    "del of a parameter": ("del a\ncheckpoint('k')", 4, "deleted_name", "`a` is restored when resuming"),
    "except as": ("x = 1\ncheckpoint('k', x=x)\ntry: a()\nexcept E as x: pass", 7, "deleted_name", "`x`"),
    "global": ("global G\nG = 1\ncheckpoint('k')", 5, "outer_assignment", "`G`"),
    "mutable default inside": ("def f(x=[]): pass\ncheckpoint('k')", 4, "mutable_default", "use None"),
    "unreachable": ("return 1\ncheckpoint('k')", 5, "unreachable", "never be reached"),
}


@pytest.mark.parametrize(("body", "line", "code", "part"), REFUSED.values(), ids=REFUSED.keys())
def test_body_that_could_not_resume_is_refused(load: Load, body: str, line: int, code: str, part: str) -> None:
    source = "@task('t')\ndef t(a, b=1):\n" + "".join(f"    {text}\n" for text in body.splitlines())

    with pytest.raises(RegistrationError) as refusal:
        load(source)

    assert (refusal.value.line, refusal.value.code) == (line, code)
    assert part in refusal.value.message
    assert "t" not in registry


ACCEPTED = {
    "nested function that is not used after it": "x = 1\ndef f(): return x\ny = f()\ncheckpoint('k', y=y)\nreturn y",
    "captured if the pattern matches": "x = 1\ncheckpoint('k')\nmatch a:\n  case [x]: return x",
    "walrus that always binds": "x = 1\ncheckpoint('k')\nif (x := a): return x",
    "global assigned in the other branch": "global G\nif a: G = 1\nelse: checkpoint('k')",
    "with on a parameter": "with a(b) as w:\n  checkpoint('k')\n  w()",
    "nested with in one statement": "with a() as w, b() as v:\n  checkpoint('k')\n  w(v)",
    "return in finally": "try:\n  checkpoint('k')\nfinally:\n  return a",
    "unread name": "x = a\ncheckpoint('k')",
    "bound again after it": "x = 1\ncheckpoint('k')\nx = 2\nreturn x",
    "bound again in both branches": "x = 1\ncheckpoint('k')\nif a: x = 2\nelse: x = 3\nreturn x",
    "parameter": "checkpoint('k')\nreturn a, b",
    "rebound and saved parameter": "a = int(a)\ncheckpoint('k', a=a)\nreturn a",
    "rebound and unread parameter": "a = int(a)\ncheckpoint('k')\nreturn b",
    "separate loop variable": "for x in a: pass\ncheckpoint('k')\nfor x in a: print(x)",
    "comprehension variable": "x = 1\ncheckpoint('k')\nreturn [x for x in a]",
    "parameter of a nested function": "x = 1\ncheckpoint('k')\ndef f(x): return x\nreturn f",
    "unconditional import": "import json\ncheckpoint('k')\nreturn json",
    "with entered again": "with a() as f:\n  checkpoint('k')\n  f.write(1)",
    "transaction with its escape": "with a.atomic():  # trigger: re-enter\n  checkpoint('k')",
    "with on both sides and its escape": "with a() as f:  # trigger: re-enter\n  f(1)\n  checkpoint('k')\n  f(2)",
    "transaction that has ended": "with a.atomic(): x = 1\ncheckpoint('k', x=x)",
    "global assigned after it": "global G\ncheckpoint('k')\nG = 1",
    "global value under its own name": "checkpoint('k', {'re': re})",
    "vars of an object": "checkpoint('k')\nvars(a)",
    "loop after": "checkpoint('k')\nfor i in a:\n  if i: break\n  continue\nelse: pass",
    "deleted unsaved name": "x = 1\ndel x\ncheckpoint('k')",
    "saved in both branches": (
        "if a:\n  x = 1\n  checkpoint('k', x=x)\nelse:\n  x = 2\n  checkpoint('m', x=x)\ncheckpoint('n')\nreturn x"
    ),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_body_that_can_resume_is_accepted(load: Load, body: str) -> None:
    load("import re\n@task('t')\ndef t(a, b=1):\n" + "".join(f"    {text}\n" for text in body.splitlines()))

    assert registry["t"].points


def test_all_problems_are_reported_in_order_of_their_lines(load: Load) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load("""
            @task("t")
            def t(x=[]):
                for i in x:
                    checkpoint("k")
                checkpoint("k", {"a": i}, **x)
        """)

    assert [(problem.line, problem.code) for problem in refusal.value.problems] == [
        (3, "mutable_default"),
        (5, "checkpoint_in_loop"),
        (6, "unpacked_data"),
    ]
    assert re.match(r".*tasks_\d+\.py:3:9: error: a mutable default .* \[mutable_default\]\n", str(refusal.value))


@pytest.mark.parametrize("statement", ["checkpoint('k')", "x = 1; checkpoint('k', x=x)"])
def test_checkpoint_that_is_not_awaited_in_async_def_is_refused(load: Load, statement: str) -> None:
    with pytest.raises(RegistrationError, match="must be awaited") as refusal:
        load(f"@task('t')\nasync def t():\n    {statement}\n")

    assert (refusal.value.line, refusal.value.code) == (4, "not_awaited")


@pytest.mark.parametrize(
    ("outside", "inside", "call"),
    [
        ("from trigger_sdk import checkpoint as save", "pass", "save"),
        ("import trigger_sdk as sdk", "pass", "sdk.checkpoint"),
        ("import trigger_sdk.tasks", "pass", "trigger_sdk.tasks.checkpoint"),
        ("pass", "from trigger_sdk import checkpoint as save", "save"),
        ("pass", "import trigger_sdk as sdk", "sdk.checkpoint"),
    ],
)
def test_checkpoint_is_known_under_its_other_names(load: Load, outside: str, inside: str, call: str) -> None:
    load(f"{outside}\n@task('t')\ndef t():\n    {inside}\n    {call}('k')\n")

    assert [point.key for point in registry["t"].points] == ["k"]


def test_function_of_the_same_name_is_not_a_checkpoint(load: Load) -> None:
    module = load("""
        def checkpoint(key): return key

        @task("t")
        def t():
            for i in range(2):
                key = checkpoint(i)
            return key
    """)

    assert registry["t"].plan is None
    assert module.t() == 1


def test_function_without_checkpoints_keeps_its_code(load: Load) -> None:
    module = load("""
        def plain(x): return x + 1
        code = plain.__code__
        task("t")(plain)
    """)

    assert module.plain.__code__ is module.code


def test_points_name_what_is_saved_and_what_is_needed(load: Load) -> None:
    load("""
        @task("t")
        def t(a):
            x = y = a
            checkpoint("one", {"x": x, "y": y, "size": len(x)})
            checkpoint("two")
            return x
    """)

    assert [(p.key, p.line, p.binds, p.data_keys, p.needs) for p in registry["t"].points] == [
        ("one", 5, ("x", "y"), ("x", "y", "size"), ("x",)),
        ("two", 6, (), (), ("x",)),
    ]


def test_future_imports_of_the_file_hold_in_the_new_code(tmp_path: Path) -> None:
    source = """
        from trigger_sdk import task, checkpoint

        @task("t")
        def t():
            checkpoint("k")
            def inner(x: Missing): return x
            return inner(1)
    """

    assert load_module(tmp_path, source, "from __future__ import annotations").t() == 1


def test_changed_file_is_refused(load: Load, tmp_path: object) -> None:
    module = load("""
        def late():
            checkpoint("k")
    """)
    with open(module.__file__ or "", "w") as file:
        file.write("def other(): pass\n")

    with pytest.raises(RegistrationError, match="has changed since late was loaded"):
        module.task("t")(module.late)


def test_code_without_source_is_refused() -> None:
    scope: dict[str, object] = {}
    exec("def f(): pass", scope)

    from trigger_sdk import task

    with pytest.raises(RegistrationError, match="the source of f is not available"):
        task("t")(scope["f"])  # type: ignore[type-var]
