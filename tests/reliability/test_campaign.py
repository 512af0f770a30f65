"""The campaign of faults: a small one on every change, the whole one and its planted bugs in the long tier.

The seed is printed and may be given by TRIGGER_TEST_SEED; `-s` shows faults, verdict and figures.
"""

import os
import secrets

import pytest

from tests.reliability.campaign import Options, run_campaign

SEED = int(os.environ.get("TRIGGER_TEST_SEED") or secrets.randbelow(10**6))

PLANTED = [
    ("acknowledge-before-commit", "kill-task", "segments run again from before an acknowledged checkpoint"),
    ("double-effects", "kill-task", "runs finished twice"),
    ("exit-by-itself", "kill-task", "programs that exited by themselves or did not come back"),
    ("forget-last-checkpoint", "kill-task", "segments run again from before an acknowledged checkpoint"),
    ("ignore-tokens", "zombie:machine", "writes taken from another attempt than the one they stand under"),
    ("lose-triggers", "kill-task", "acknowledged runs lost"),
    ("release-lost-attempts", "kill-worker", "attempts `released` whose code had begun, without a drain"),
]


def broken(options: Options) -> list[str]:
    return [finding.rule for finding in run_campaign(options) if finding.is_broken]


def test_small_campaign_keeps_all_rules() -> None:
    kinds = "kill-task,kill-coordinator:one,kill-web"

    assert broken(Options(SEED, runs=20, minutes=0.25, kinds=kinds)) == [], f"seed {SEED}"


@pytest.mark.long
def test_whole_campaign_keeps_all_rules() -> None:
    assert broken(Options(SEED)) == [], f"seed {SEED}"


@pytest.mark.long
@pytest.mark.parametrize(("plant", "kinds", "rule"), PLANTED, ids=[plant for plant, _, _ in PLANTED])
def test_planted_bug_is_found(plant: str, kinds: str, rule: str) -> None:
    minutes = 1.5 if kinds.startswith("zombie") else 0.4

    assert rule in broken(Options(SEED, round(75 * minutes), minutes, kinds, plant=plant)), f"seed {SEED}"
