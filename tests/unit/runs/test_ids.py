import time
from uuid import UUID

import pytest

from apps.runs.ids import ALPHABET, parse_public_id, public_id, uuid7


def test_uuid7_says_its_version_and_its_time() -> None:
    before = time.time_ns() // 1_000_000

    identifier = uuid7()

    assert (identifier.version, identifier.variant) == (7, UUID(int=0x8000 << 48).variant)
    assert before <= identifier.int >> 80 <= time.time_ns() // 1_000_000


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
