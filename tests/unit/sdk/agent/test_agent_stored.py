"""What an attempt keeps of the checkpoints it receives: less than all, but it restores the same."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from trigger_sdk.agent.child.stored import Stored
from trigger_sdk.run.stored import StoredCheckpoint, resume_of

NAMES = st.sampled_from("abcde")
VALUES = st.dictionaries(NAMES, st.integers(0, 9), max_size=3)


def entry(index: int, bound: dict[str, int], carried: dict[str, int], *, is_step: bool) -> StoredCheckpoint:
    if is_step:
        return StoredCheckpoint(f"s{index}", index, b"7", [], kind="step")
    return StoredCheckpoint(
        f"c{index}", index, json.dumps({**bound, "shown": 1}).encode(), list(bound),
        json.dumps(carried).encode() if carried else None,
    )  # fmt: skip


def kept(entries: list[StoredCheckpoint]) -> list[StoredCheckpoint]:
    stored = Stored()
    for each in entries:
        stored.add(each)
    return stored.entries


@given(st.lists(st.tuples(VALUES, VALUES, st.booleans()), max_size=12))
def test_a_resume_restores_the_same_from_what_is_kept(drawn: list[tuple[Any, Any, bool]]) -> None:
    entries = [entry(n, bound, carried, is_step=is_step) for n, (bound, carried, is_step) in enumerate(drawn)]

    assert resume_of(kept(entries)) == resume_of(entries)
    assert [each.key for each in kept(entries)] == [each.key for each in entries]


def test_data_of_which_every_name_came_again_is_let_go() -> None:
    first, second, last = kept(
        [
            entry(0, {"a": 1}, {"b": 1}, is_step=False),
            entry(1, {"a": 2, "c": 2}, {}, is_step=False),
            entry(2, {"b": 3}, {}, is_step=False),
        ]
    )

    assert (first.data, first.carried) == (None, None)
    assert second.data is not None
    assert last.data is not None


def test_what_cannot_be_read_stays_for_the_resume_to_refuse() -> None:
    other_codec = StoredCheckpoint("c0", 0, b"{}", ["a"], codec=99)
    broken = StoredCheckpoint("c1", 1, b'{"a":1}', ["a"], b"{")

    assert kept([other_codec, broken, entry(2, {"a": 1}, {}, is_step=False)])[:2] == [other_codec, broken]
