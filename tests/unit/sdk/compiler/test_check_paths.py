"""The check at registration, on paths that are easy to forget: names bound perhaps, later, or in another function."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry

Load = Callable[[str], ModuleType]

# The body of a task `t(a, b=1)` whose `def` is line 3, then the line and code of the refusal, and part of its text.
REFUSED = {
    "deleted after it, not saved": ("x = 1\ncheckpoint('k')\ndel x", 6, "lost_name", "`x`"),
    "bound by a walrus that may be skipped": (
        "x = 1\ncheckpoint('k')\na and (x := 2)\nreturn x",
        7,
        "lost_name",
        "`x`",
    ),
    "bound by one side of a choice": ("x = 1\ncheckpoint('k')\nb if a else (x := 2)\nx", 7, "lost_name", "`x`"),
    "bound by a comprehension without items": (
        "x = 1\ncheckpoint('k')\n[x := i for i in a]\nreturn x",
        7,
        "lost_name",
        "`x`",
    ),
    "bound by the end of a chain of comparisons": (
        "x = 1\ncheckpoint('k')\n0 < a < (x := 2)\nx",
        7,
        "lost_name",
        "`x`",
    ),
    "captured by a pattern that does not match": (
        "x = 1\ncheckpoint('k')\nmatch a:\n  case [x]: pass\n  case _: return x",
        8,
        "lost_name",
        "`x`",
    ),
    "read where leaving a with raises": (
        "x = 1\ntry:\n  with a:\n    checkpoint('k')\nexcept E: return x",
        8,
        "lost_name",
        "`x`",
    ),
    "read lazily by a with": (
        "with a(x for _ in b) as c:\n  x = 1\n  checkpoint('k')\n  c()",
        4,
        "rerun_rebound",
        "`x`",
    ),
    "deleted in a nested function": (
        "x = 1\ncheckpoint('k', x=x)\ndef f():\n  nonlocal x\n  del x",
        8,
        "deleted_name",
        "None instead",
    ),
    "set by a nested function and read by another": (
        "def s():\n  nonlocal x\n  x = 5\ndef g(): return x\ns()\ncheckpoint('k')\na = g()\nx = 0",
        7,
        "lost_name",
        "`x`",
    ),
    "with read by a nested function before and after it": (
        "with a() as w:\n  w.append(1)\n  def f(): return w\n  checkpoint('k')\n  f()",
        4,
        "with_state",
        "`w` is used on line 5",
    ),
    "with used by a nested function before it": (
        "def f(): w.append(1)\nwith a() as w:\n  f()\n  checkpoint('k')\n  return w",
        5,
        "with_state",
        "`w` is used on line 4",
    ),
    "item of a dict as the target of a with": (
        "d = {}\nwith a() as d['w']:\n  checkpoint('k', d=d)",
        5,
        "with_target",
        "a plain name",
    ),
    "parameter that a with reads and the block binds": (
        "with b(a):\n  a = 1\n  checkpoint('k', a=a)",
        4,
        "rerun_rebound",
        "reads `a`, which line 5 binds again",
    ),
    "function that a with calls reads a rebound name": (
        "x = 1\ndef f(): return x\nwith a(f()):\n  x = 2\n  checkpoint('k', x=x)",
        6,
        "rerun_rebound",
        "reads `x`",
    ),
    "global assigned on the same line": ("global G\nG = 1; checkpoint('k')", 5, "outer_assignment", "`G`"),
    "global import in a branch": ("global G\nif a: import re as G\ncheckpoint('k')", 5, "outer_assignment", "`G`"),
    "global set by a nested function": (
        "def f():\n  global G\n  G = 1\nf()\ncheckpoint('k')",
        4,
        "outer_assignment",
        "`G`",
    ),
    "dir": ("dir()\ncheckpoint('k')", 4, "hidden_names", "`dir`"),
    "checkpoint in except*": ("try: a()\nexcept* E:\n  checkpoint('k')", 6, "checkpoint_in_handler", "after the `try`"),
}


@pytest.mark.parametrize(("body", "line", "code", "part"), REFUSED.values(), ids=REFUSED.keys())
def test_body_that_could_not_resume_is_refused(load: Load, body: str, line: int, code: str, part: str) -> None:
    source = "@task('t')\ndef t(a, b=1):\n" + "".join(f"    {text}\n" for text in body.splitlines())

    with pytest.raises(RegistrationError) as refusal:
        load(source)

    assert (line, code) in [(problem.line, problem.code) for problem in refusal.value.problems]
    assert any(part in problem.message for problem in refusal.value.problems if problem.code == code)
    assert "t" not in registry


@pytest.mark.parametrize("default", ["SHARED", "tuple(SHARED) and SHARED", "dict.fromkeys('a')"])
def test_default_that_can_change_in_place_is_refused_whatever_makes_it(load: Load, default: str) -> None:
    with pytest.raises(RegistrationError, match="shared between runs") as refusal:
        load(f"SHARED = [1]\n@task('t')\ndef t(*, a={default}): pass\n")

    assert (refusal.value.line, refusal.value.code) == (4, "mutable_default")


def test_private_parameter_in_a_class_is_refused(load: Load) -> None:
    with pytest.raises(RegistrationError, match="renames the parameter `__a` to `_C__a`") as refusal:
        load("class C:\n    @staticmethod\n    @task('t')\n    def t(__a):\n        checkpoint('k')\n")

    assert (refusal.value.line, refusal.value.code) == (5, "private_parameter")


def test_star_import_in_a_task_is_an_error_of_python(load: Load) -> None:
    with pytest.raises(SyntaxError, match="only allowed at module level"):
        load("@task('t')\ndef t():\n    from math import *\n    checkpoint('k')\n")


def test_escape_is_found_below_a_form_feed(load: Load) -> None:
    load("\x0c\n@task('t')\ndef t(a):\n    with a.atomic():  # trigger: re-enter\n        checkpoint('k')\n")

    assert registry["t"].points


def test_task_in_an_installed_package_is_compiled_from_its_archive(tmp_path: Path) -> None:
    import importlib
    import sys
    import zipfile

    source = "from trigger_sdk import task, checkpoint\n@task('zipped')\ndef t(a):\n    checkpoint('k')\n    return a\n"
    with zipfile.ZipFile(tmp_path / "tasks.zip", "w") as archive:
        archive.writestr("zipped_tasks.py", source)
    sys.path.insert(0, str(tmp_path / "tasks.zip"))
    try:
        importlib.import_module("zipped_tasks")
    finally:
        sys.path.pop(0)
        del sys.modules["zipped_tasks"]

    assert [point.key for point in registry["zipped"].points] == ["k"]
