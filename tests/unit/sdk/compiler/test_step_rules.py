"""Static rules of steps: keys that cannot be unique and steps that nobody awaits are refused before they run."""

import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry

from tests.unit.sdk.in_process import run

Load = Callable[[str], ModuleType]
HEAD = "from trigger_sdk import step\nimport trigger_sdk\ndef g(*x): return 1\nasync def h(*x): return 1\n"


def load_body(load: Load, body: str, head: str = "def t(a=(), b=1):") -> ModuleType:
    """The body begins on line 8."""
    return load(f"{HEAD}@task('t')\n{head}\n" + textwrap.indent(textwrap.dedent(body), "    "))


# The body, then line, code and part of the message.
REFUSED = {
    "for loop": ("for i in a:\n  step('page', g, i)", 9, "step_key_in_loop", 'write `step(f"page-{i}", …)`'),
    "loop's first name": ("for n, x in a:\n  x = step('p', g, n)", 9, "step_key_in_loop", 'step(f"p-{n}", …)'),
    "nested loops": ("for i in a:\n  for j in i:\n    step('p', g)", 10, "step_key_in_loop", 'f"p-{i}-{j}"'),
    "while loop": ("while b:\n  b = step('p', g)", 9, "step_key_in_loop", 'step(f"p-{number}", …)'),
    "while condition": ("while step('p', g): pass", 8, "step_key_in_loop", "the loop on line 8"),
    "branch of a loop": ("for i in a:\n  if i:\n    step('p', g)", 10, "step_key_in_loop", "each round"),
    "with in a loop": ("for i in a:\n  with b:\n    step('p', g)", 10, "step_key_in_loop", "each round"),
    "inner loop that is left": ("for i in a:\n  for j in i:\n    step('p', g)\n    break", 10, "step_key_in_loop", "i"),
    "handled in a loop": ("for i in a:\n  try: step('p', g)\n  except E: pass", 9, "step_key_in_loop", "each round"),
    "f-string without a name": ("for i in a:\n  step(f'page', g)", 9, "step_key_in_loop", 'f"page-{i}"'),
    "braces in the key": ("for i in a:\n  step('{p}', g)", 9, "step_key_in_loop", 'f"{{p}}-{i}"'),
    "loop in a nested function": ("def f():\n  for i in a:\n    step('p', g)\nf()", 10, "step_key_in_loop", "{i}"),
    "list comprehension": ("x = [step('p', g, i) for i in a]", 8, "step_key_in_loop", 'f"p-{i}"'),
    "dict comprehension": ("x = {i: step('p', g) for i in a}", 8, "step_key_in_loop", 'f"p-{i}"'),
    "condition of a comprehension": ("x = [i for i in a if step('p', g)]", 8, "step_key_in_loop", 'f"p-{i}"'),
    "async for": ("async for i in a:\n  await step('p', h)", 9, "step_key_in_loop", 'f"p-{i}"'),
    "two steps": ("step('p', g)\nstep('p', g)", 9, "duplicate_key", "already used on line 8"),
    "steps in branches": ("if a: step('p', g)\nelse: step('p', g)", 9, "duplicate_key", "unique in a run"),
    "step and checkpoint": ("step('k', g)\ncheckpoint('k')", 9, "duplicate_key", "already used on line 8"),
    "checkpoint and step": ("checkpoint('k')\nstep('k', g)", 9, "duplicate_key", "its own key"),
    "steps in nested functions": (
        "def f(): return step('p', g)\ndef e(): return step('p', g)\nreturn f, e",
        9,
        "duplicate_key",
        "line 8",
    ),
    "empty key": ("step('', g)", 8, "key_length", "1 to 200 characters, not 0"),
    "long key": (f"step('{'k' * 201}', g)", 8, "key_length", "not 201"),
    "NUL in the key": ("step('a\\0', g)", 8, "key_text", "NUL"),
    "number as a key": ("step(3, g)", 8, "key_text", "a text, not 3: write '3'"),
    "bare call of async def": ("step('k', h)", 8, "step_not_awaited", "make `t` `async def` and write `await step(…)`"),
    "nested async def": ("async def f(): pass\nstep('k', f)", 9, "step_not_awaited", "`f` is `async def`"),
}


@pytest.mark.parametrize(("body", "line", "code", "part"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_step_is_refused(load: Load, body: str, line: int, code: str, part: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load_body(load, body, "async def t(a=(), b=1):" if "async for" in body else "def t(a=(), b=1):")

    assert [(problem.line, problem.code) for problem in refusal.value.problems] == [(line, code)]
    assert part in refusal.value.message
    assert "t" not in registry


ACCEPTED = {
    "computed key": "for i in a: step(f'p-{i}', g, i)",
    "key in a name": "for i in a: step(i, g, i)",
    "the loop's own iterable": "for i in step('p', g): print(i)",
    "iterable of a comprehension": "x = [i for i in step('p', g)]",
    "loop's else": "for i in a: print(i)\nelse: step('p', g)",
    "left by return": "for i in a:\n  return step('p', g)",
    "left by break": "for i in a:\n  try:\n    x = step('p', g)\n    break\n  except E: continue",
    "left by the loop's else of a try": "while b:\n  try: x = step('p', g)\n  except E: continue\n  else: return x",
    "a function in a loop": "for i in a:\n  def f(): return step('p', g)",
    "a lambda in a loop": "for i in a:\n  f = lambda: step('p', g)",
    "different keys": "step('p', g)\nstep('q', g)\ncheckpoint('k')",
    "as a decorator in a loop": "for i in a:\n  @step('p-{n}')\n  def f(n): return n",
    "a coroutine that is kept": "x = step('k', h)\nreturn x",
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_right_step_is_accepted(load: Load, body: str) -> None:
    load_body(load, body)

    assert "t" in registry


def test_steps_are_checked_with_and_without_checkpoints(load: Load) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load_body(load, "for i in a:\n  step('p', g)\nx = 1\ncheckpoint('k')\nreturn x")

    assert [(p.line, p.column, p.code) for p in refusal.value.problems] == [
        (9, 12, "step_key_in_loop"),
        (12, 12, "lost_name"),
    ]


@pytest.mark.parametrize(
    ("outside", "inside", "call"),
    [
        ("from trigger_sdk import step as once", "pass", "once"),
        ("import trigger_sdk as sdk", "pass", "sdk.step"),
        ("import trigger_sdk.steps", "pass", "trigger_sdk.steps.step"),
        ("pass", "from trigger_sdk import step as once", "once"),
        ("pass", "from trigger_sdk.steps import step as once", "once"),
        ("pass", "import trigger_sdk as sdk", "sdk.step"),
        ("from trigger_sdk import step\nonce = step", "pass", "once"),
    ],
)
def test_step_is_known_under_its_other_names(load: Load, outside: str, inside: str, call: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load(f"{outside}\n@task('t')\ndef t(a=()):\n    {inside}\n    for i in a: {call}('p', print)\n")

    assert refusal.value.code == "step_key_in_loop"


def test_other_function_of_the_name_is_not_a_step(load: Load) -> None:
    module = load("""
        def step(key, function): return key

        @task("t")
        def t(): return [step("p", 1) for i in (1, 2)][0]
    """)

    assert module.t() == "p"


def test_parameter_of_the_name_is_not_a_step(load: Load) -> None:
    module = load("""
        from trigger_sdk import step

        @task("t")
        def t():
            def f(step): return [step("p", 1) for i in (1, 2)][0]
            return f(lambda key, _: key)
    """)

    assert module.t() == "p"


def test_form_that_the_message_shows_runs(load: Load) -> None:
    module = load_body(load, 'return [step(f"page-{i}", g, i) for i in (1, 2)]')

    assert run(module.t).output == [1, 1]


def test_awaited_coroutine_runs_in_an_async_task(load: Load) -> None:
    module = load_body(load, "await step('k', h)\nreturn await step('m', h)", "async def t():")

    assert run(module.t).output == 1


def test_bare_call_in_an_async_task_says_await(load: Load) -> None:
    with pytest.raises(RegistrationError, match="because nothing awaits it: write `await step") as refusal:
        load_body(load, "step('k', h)", "async def t():")

    assert refusal.value.code == "step_not_awaited"


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ("for order in a:\n  checkpoint('saved')", 'step(f"saved-{order}", …)'),
        ("for i in a:\n  for j in i:\n    checkpoint('saved')", 'step(f"saved-{i}-{j}", …)'),
        ("for i in a:\n  checkpoint(f'saved-{i}', i=i)", "step(f'saved-{i}', …)"),
        ("while b:\n  checkpoint('saved')", 'step(f"saved-{number}", …)'),
        ("[checkpoint('saved') for i in a]", 'step(f"saved-{i}", …)'),
        ("for i in a:\n  trigger_sdk.checkpoint('saved')", 'step(f"saved-{i}", …)'),
    ],
)
def test_checkpoint_in_a_loop_is_refused_with_its_step_form(load: Load, body: str, form: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load_body(load, body)

    assert f"make what each round does a step, such as `{form}`" in refusal.value.message


@pytest.mark.parametrize(
    "body",
    ["for i in a:\n  class Inside:\n    x = step('k', f)", "for i in a:\n  try: pass\n  except step('k', f): pass"],
    ids=["class-body", "handler-header"],
)
def test_step_at_an_odd_place_of_a_loop_is_refused_with_its_place(load: Load, body: str) -> None:
    with pytest.raises(RegistrationError) as refusal:
        load_body(load, body)

    assert refusal.value.code == "step_key_in_loop"
