import time
from uuid import UUID

import pytest

from apps.storage import ids
from apps.storage.ids import ALPHABET, parse_public_id, public_id, uuid7


def test_uuid7_says_its_version_and_its_time() -> None:
    before = time.time_ns() // 1_000_000

    identifier = uuid7()

    assert (identifier.version, identifier.variant) == (7, UUID(int=0x8000 << 48).variant)
    assert before <= identifier.int >> 80 <= time.time_ns() // 1_000_000


def test_uuid7_sort_in_the_order_in_which_they_were_made() -> None:
    """Runs that are triggered one after the other are claimed so, also inside a millisecond."""
    made = [uuid7() for _ in range(20_000)]

    assert made == sorted(made)


def test_uuid7_follow_a_clock_that_was_set_back_by_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000 * 10**9
    times = iter([now, now - 10**9, now - 3600 * 10**9])
    monkeypatch.setattr(ids, "_clock", ids._Clock())
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(times))

    first, shortly_before, long_before = (uuid7() for _ in range(3))

    assert first < shortly_before
    assert long_before.int >> 80 == (now - 3600 * 10**9) // 10**6


def test_uuid7_differs_each_time() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("value", [0, 1, 2**128 - 1, 2**127, 31, 32])
def test_public_id_is_read_back(value: int) -> None:
    text = public_id("run", UUID(int=value))

    assert len(text) == len("run_") + 26
    assert set(text.removeprefix("run_")) <= set(ALPHABET)
    assert parse_public_id("run", text) == UUID(int=value)


def test_public_ids_sort_as_their_uuids() -> None:
    identifiers = sorted(uuid7() for _ in range(100))

    assert sorted(public_id("run", one) for one in identifiers) == [public_id("run", one) for one in identifiers]


@pytest.mark.parametrize(
    "text",
    ["", "run_", "run", "dep_" + "0" * 26, "run_" + "0" * 25, "run_" + "0" * 27, "run_" + "i" * 26, "run_" + "A" * 26,
     "run_8" + "0" * 25, "run_" + "é" * 26, "run_" + "0" * 25 + "\n"],
)  # fmt: skip
def test_other_text_is_no_id(text: str) -> None:
    assert parse_public_id("run", text) is None
