"""The hash of each segment: which edits change which, and which change none."""

import re
from collections.abc import Callable
from types import ModuleType

import pytest
from trigger_sdk.tasks import registry

Load = Callable[[str], ModuleType]

TASK = '''
import contextlib

@task("t", queue="mail")
def t(order_id: str, count: int = 1):
    """What it does."""
    order = {"id": order_id}  # fetched
    checkpoint("one", {"order": order})
    if count > 1:
        note = "many"
        with contextlib.suppress(KeyError):
            first = 1
            checkpoint("two", note=note)
            second = 2
        third = 3
    else:
        fourth = 4
    try:
        fifth = 5
        checkpoint("three")
        sixth = 6
    except ValueError:
        seventh = 7
    else:
        eighth = 8
    finally:
        ninth = 9
    match count:
        case 1:
            tenth = 10
            checkpoint("four")
        case int() if order_id:
            eleventh = 11
    return order_id
'''
NONE = None


def segments(load: Load, source: str, task_id: str = "t") -> list[str]:
    registry.pop(task_id, None)
    load(source)
    found = registry[task_id].describe()["segments"]
    assert isinstance(found, list)
    return found


def test_there_is_one_hash_more_than_there_are_points(load: Load) -> None:
    found = segments(load, TASK)

    assert len(found) == 5
    assert len(set(found)) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in found)


def test_task_without_checkpoints_is_one_segment(load: Load) -> None:
    assert len(segments(load, "@task('t')\ndef t(): return 1\n")) == 1


# The old text, the new text, and the one segment that this changes.
EDITS = {
    "a default": ("count: int = 1", "count: int = 2", 0),
    "an annotation": ("order_id: str", "order_id: int", 0),
    "a parameter": ("(order_id: str, ", "(order_id: str, more=None, ", 0),
    "def made async": ("def t(", "def t(", NONE),
    "before the first point": ('{"id": order_id}', '{"id": order_id, "x": 1}', 0),
    "what the first point saves": ('"order": order})', '"order": order, "n": 1})', 0),
    "a key": ('checkpoint("one"', 'checkpoint("uno"', 0),
    "the condition of a branch around a point": ("count > 1", "count > 2", 1),
    "a branch before its point": ('"many"', '"much"', 1),
    "the item of a with": ("suppress(KeyError)", "suppress(LookupError)", 1),
    "a with before its point": ("first = 1", "first = 0", 1),
    "a with after its point": ("second = 2", "second = 0", 2),
    "a branch after its with": ("third = 3", "third = 0", 2),
    "the other branch": ("fourth = 4", "fourth = 0", 2),
    "a try before its point": ("fifth = 5", "fifth = 0", 2),
    "a try after its point": ("sixth = 6", "sixth = 0", 3),
    "what a handler catches": ("except ValueError", "except TypeError", 3),
    "a handler": ("seventh = 7", "seventh = 0", 3),
    "else of a try": ("eighth = 8", "eighth = 0", 3),
    "finally": ("ninth = 9", "ninth = 0", 3),
    "the subject of a match": ("match count:", "match -count:", 3),
    "a case before its point": ("tenth = 10", "tenth = 0", 3),
    "a pattern before its point": ("case 1:", "case 2:", 3),
    "a pattern after the last point": ("case int()", "case str()", 4),
    "a guard": ("if order_id:", "if not order_id:", 4),
    "another case": ("eleventh = 11", "eleventh = 0", 4),
    "the tail": ("return order_id", "return order", 4),
    "a statement moved out of its block": ("        third = 3\n", "", 2),
    "a statement moved into the block before": ("        fourth = 4\n", "        fourth = 4\n        pass\n", 2),
    "the docstring": ("What it does.", "What it really does.", NONE),
    "an option": ('queue="mail"', 'queue="post"', NONE),
    "a comment": ("# fetched", "# taken", NONE),
    "blank lines": ("    match count:", "\n\n    match count:", NONE),
    "lines above the task": ("import contextlib", "import contextlib\nimport re\n\nX = 1\n", NONE),
    "quotes": ('"many"', "'many'", NONE),
    "parentheses": ("count > 1", "(count > (1))", NONE),
    "a call over several lines": (
        '("one", {"order": order})',
        '(\n        "one",\n        {"order": order},\n    )',
        NONE,
    ),
}


@pytest.mark.parametrize(("old", "new", "changed"), EDITS.values(), ids=EDITS.keys())
def test_edit_changes_its_own_segment_and_no_other(load: Load, old: str, new: str, changed: int | None) -> None:
    before = segments(load, TASK)
    assert TASK.count(old) == 1

    after = segments(load, TASK.replace(old, new))

    differing = [index for index, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1]
    assert differing == ([] if changed is None else [changed])


def test_making_a_task_async_changes_the_segments_that_await(load: Load) -> None:
    source = "@task('t')\n{0}def t(x=1):\n    {1}checkpoint('k')\n    return x\n"

    plain = segments(load, source.format("", ""))
    awaited = segments(load, source.format("async ", "await "))

    assert plain[0] != awaited[0]
    assert plain[1] == awaited[1]


def test_statement_that_leaves_a_block_changes_its_segment(load: Load) -> None:
    source = "@task('t')\ndef t(x=1):\n    if x:\n        checkpoint('k')\n{0}print(x)\n    return x\n"

    inside = segments(load, source.format(" " * 8))
    outside = segments(load, source.format(" " * 4))

    assert [one == other for one, other in zip(inside, outside, strict=True)] == [True, False]


def test_new_checkpoint_splits_a_segment_and_leaves_the_others(load: Load) -> None:
    source = "@task('t')\ndef t(x=1):\n    a = x\n    checkpoint('one')\n    b = x\n{0}    c = x\n    return x\n"

    before = segments(load, source.format(""))
    after = segments(load, source.format("    checkpoint('two')\n"))

    assert len(after) == len(before) + 1
    assert after[0] == before[0]


def test_hashes_are_the_same_in_every_process_and_version(load: Load) -> None:
    # Deployments from different days are compared: a different hash would report all their code as changed.
    found = segments(load, "@task('t')\ndef t(x=1):\n    checkpoint('k')\n    return x\n")

    assert found == ["a32122852f923ae4", "c2f7e8efde98d323"]
