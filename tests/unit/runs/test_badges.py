from pathlib import Path

from apps.runs.badges import LIVE_ATTEMPT_BADGE, OUTCOME_BADGES, STATE_BADGES
from apps.runs.states import Outcome, RunState

ROOT = Path(__file__).resolve().parents[3]


def test_every_state_and_outcome_has_a_badge() -> None:
    assert set(STATE_BADGES) == set(RunState)
    assert set(OUTCOME_BADGES) == set(Outcome)


def test_every_icon_of_a_badge_is_in_the_sprite() -> None:
    sprite = (ROOT / "static/vendor/lucide-1.62.0/sprite.svg").read_text()

    for badge in [*STATE_BADGES.values(), *OUTCOME_BADGES.values(), LIVE_ATTEMPT_BADGE]:
        assert f'id="{badge.icon}"' in sprite
