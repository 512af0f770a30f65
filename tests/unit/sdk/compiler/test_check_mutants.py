"""Each rule of the check, and each part of the rewriting, is needed: without it a generated function resumes wrongly.

`FIRST` only saves time: it says near which number of the seed a counterexample is. The long tier does without it.
"""

import os

import pytest

from tests.unit.sdk.generated.oracle import DisagreementError
from tests.unit.sdk.generated.proof import prove
from tests.unit.sdk.generated.weakenings import THEMES, WEAKENINGS, weakened

MOST = 1_500
FIRST = {
    "nested functions read nothing": 106,
    "statements never raise": 38,
    "handlers are never entered": 131,
    "loops never turn": 17,
    "what may be bound is bound": 59,
    "captures are bound if the pattern does not match": 69,
    "deleting needs nothing": 58,
    "restored names may be deleted": 214,
    "context managers swallow nothing": 127,
    "context managers never raise": 3,
    "what runs again needs nothing": 1610,
    "globals may be set before": 2,
    "nothing is carried": 30,
    "what runs again may read rebound names": 83,
    "keys may be used twice": 282,
    "parameters are not carried": 278,
    "imports and nested functions do not run again": 18,
    "conditions are asked again": 31,
    "statements of a branch run again": 43,
    "what is made again is never made again": 85,
    "what is made again needs nothing": 281,
    "what nobody reads is made again": 13,
    "what is made again may be deleted": 179,
    "what is made again may be bound again": 261,
}


def test_weakened_compiler_is_whole_again_afterwards() -> None:
    for weakenings in WEAKENINGS.values():
        before = [getattr(w.owner, w.function) for w in weakenings]

        with weakened(weakenings):
            assert all(getattr(w.owner, w.function) is not old for w, old in zip(weakenings, before, strict=True))

        assert [getattr(w.owner, w.function) for w in weakenings] == before


@pytest.mark.parametrize("name", WEAKENINGS)
def test_weakening_is_caught(name: str) -> None:
    first = FIRST.get(name, 0)

    with weakened(WEAKENINGS[name]), pytest.raises(DisagreementError) as found:
        prove("mutants", range(first, first + MOST), most_crashes=12, theme=THEMES.get(name, ""))

    print(found.value)


@pytest.mark.long
@pytest.mark.parametrize("name", WEAKENINGS)
def test_weakening_is_caught_with_another_seed(name: str) -> None:
    seed = os.environ.get("TRIGGER_TEST_PROOF_SEED") or int.from_bytes(os.urandom(4))
    print(f"seed {seed}")

    with weakened(WEAKENINGS[name]), pytest.raises(DisagreementError) as found:
        prove(seed, range(2 * MOST), most_crashes=12, theme=THEMES.get(name, ""))

    print(found.value)
