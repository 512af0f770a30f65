"""What all actions of the model's machine share: the two sides, how things are picked, what has been covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from apps.workers.leases import stamp_pulse
from tests.reliability.queue_model import Model
from tests.reliability.queue_model_site import Site
from tests.reliability.queue_model_terms import BUDGET, RATES, SECOND, Attempt, QueueTerms, Run, TaskTerms

QUEUES = ["deep", "wide"]
TASKS: dict[str, dict[str, object]] = {
    "alpha": {"max_concurrency": 1, "max_concurrency_total": 3},
    "beta": {"rate_limit": "20/m"},
    "gamma": {"rate_limit_per_key": "60/m"},
}
KEYS = ["", "a", "b"]
OUTCOMES = [*sorted(BUDGET), "failed", "crashed", "lost", "start_failed", "canceled", "suspended", "released"]
PULSE = 15 * SECOND
"""The longest pause between two stamps that nobody takes for an outage."""

KEY_TTL_SECONDS = 30

picks = st.integers(0, 10_000)
mostly = st.sampled_from([True, True, True, True, False])


def seldom(*values: Any) -> st.SearchStrategy[Any]:
    """One of the values one time in four, else None: not given."""
    return st.sampled_from([*values, *[None] * (3 * len(values))])


numbers = seldom(1, 2, 3)
rates = seldom(*sorted(RATES))
Method = Callable[..., None]


@dataclass(frozen=True)
class Action:
    """What may be done next, as often as its weight says."""

    method: Method
    weight: int
    when: Callable[[Any], bool]
    arguments: Mapping[str, st.SearchStrategy[Any]]

    def __repr__(self) -> str:
        return self.method.__name__


ACTIONS: list[Action] = []


def action(
    *, weight: int = 1, when: Callable[[Any], bool] = lambda _: True, **arguments: st.SearchStrategy[Any]
) -> Callable[[Method], Method]:
    """One of the machine's actions. They share one rule: hypothesis would leave out half of its rules in each sequence,
    and a queue without claims or without ends does little."""

    def register(method: Method) -> Method:
        ACTIONS.append(Action(method, weight, when, arguments))
        return method

    return register


class Driver(RuleBasedStateMachine):
    """Model beside database; `site` is set by whoever runs it."""

    site: ClassVar[Site]
    coverage: ClassVar[Counter[str]] = Counter()
    history: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    """What the last machine has done, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.history.clear()
        self.site.empty()
        self.model = Model(
            {name: QueueTerms() for name in QUEUES}, {name: TaskTerms(options) for name, options in TASKS.items()}
        )
        self.keys: dict[tuple[str, str], tuple[Run, dict[str, Any], int]] = {}
        self.polls: list[tuple[UUID, UUID]] = []
        self.site.set_clock(0)

    def _saw(self, what: str) -> None:
        self.coverage[what] += 1

    def teardown(self) -> None:
        self._saw("sequence")

    def _beat(self) -> None:
        stamp_pulse()
        self.model.beat()

    def _attempt(self, pick: int, *, is_live: bool) -> Attempt:
        """A live one, or else one that has ended, preferably of a run that is running again."""
        of_running = [attempt for attempt in self.model.attempts if attempt.run.state == "running"]
        wanted = [attempt for attempt in of_running if attempt.is_live == is_live]
        chosen = wanted or self.model.attempts
        return chosen[pick % len(chosen)]

    def _run(self, pick: int, states: set[str]) -> Run:
        """A run, most of the time in one of these states."""
        runs = list(self.model.runs.values())
        wanted = [run for run in runs if run.state in states]
        chosen = wanted if wanted and pick % 8 else runs
        return chosen[pick // 8 % len(chosen)]
