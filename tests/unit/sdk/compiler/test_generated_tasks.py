"""Generated functions: those that the check accepts resume as if nothing had happened, wherever the process is killed.

The judge's rules are in `generated/oracle.py`. A sample runs on every change; `make prove` runs the long tier.
`TRIGGER_TEST_PROOF_SEED` and `TRIGGER_TEST_PROOF_FUNCTIONS` choose another seed and number for it.
"""

import os

import pytest

from tests.unit.sdk.generated.proof import prove

LONG_FUNCTIONS = 24_000


@pytest.mark.parametrize("part", range(4))
def test_accepted_functions_resume_as_if_nothing_had_happened(part: int) -> None:
    figures = prove("sample", range(part * 60, part * 60 + 60), most_crashes=12)

    print(figures)
    assert figures.accepted >= 15, figures
    assert figures.crashes >= 80, figures


@pytest.mark.long
def test_accepted_functions_resume_in_the_long_tier() -> None:
    seed = os.environ.get("TRIGGER_TEST_PROOF_SEED") or int.from_bytes(os.urandom(4))
    functions = int(os.environ.get("TRIGGER_TEST_PROOF_FUNCTIONS", LONG_FUNCTIONS))
    print(f"seed {seed}")

    figures = prove(seed, range(functions))

    print(figures)
    assert figures.accepted >= functions * 0.3, figures
