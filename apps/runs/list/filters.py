"""The runs list's GET parameters as one typed object, and the addresses of its neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from uuid import UUID

from apps.runs.badges import STATE_BADGES, Badge
from apps.runs.models import Task
from apps.runs.states import RunState
from apps.storage.ids import parse_public_id, public_id

if TYPE_CHECKING:
    from django.http import QueryDict

    from apps.runs.models import RunQuerySet

STATES_SHOWN = (
    RunState.RUNNING,
    RunState.PENDING,
    RunState.RETRYING,
    RunState.COMPLETED,
    RunState.DEAD_LETTER,
    RunState.CANCELED,
)
"""The states that have a chip even when they are not chosen; the others appear when the address names them."""


SEARCHED_TASKS_LIMIT = 100


@dataclass(frozen=True, slots=True)
class StateChip:
    badge: Badge
    query: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs, and where in the list: `before` goes to older runs, `after` to newer ones."""

    states: tuple[RunState, ...] = ()
    tasks: tuple[str, ...] = ()
    search: str = ""
    replay_of: UUID | None = None
    before: UUID | None = None
    after: UUID | None = None

    @classmethod
    def read(cls, parameters: QueryDict) -> RunFilter:
        """What cannot be read is left out: an old bookmark still opens."""
        known = set(RunState.values)
        return cls(
            states=tuple(RunState(text) for text in dict.fromkeys(parameters.getlist("state")) if text in known),
            tasks=tuple(dict.fromkeys(text for text in parameters.getlist("task") if text and "\x00" not in text)),
            search=parameters.get("q", "").replace("\x00", "").strip(),
            replay_of=parse_public_id("run", parameters.get("replay_of", "")),
            before=parse_public_id("run", parameters.get("before", "")),
            after=parse_public_id("run", parameters.get("after", "")),
        )

    def apply(self, runs: RunQuerySet) -> RunQuerySet:
        """The runs that match, wherever in the list they stand."""
        if self.states:
            runs = runs.filter(state__in=self.states)
        if self.tasks:
            runs = runs.filter(task_id__in=self.tasks)
        if self.replay_of is not None:
            runs = runs.filter(replay_of_id=self.replay_of)
        if self.search:
            # Two steps: joined, the planner walks a million runs to find that none has such a task.
            matching = Task.objects.filter(id__icontains=self.search).order_by("id").values_list("id", flat=True)
            runs = runs.filter(task_id__in=list(matching[:SEARCHED_TASKS_LIMIT]))
        return runs

    @property
    def is_empty(self) -> bool:
        return not (self.states or self.tasks or self.search or self.replay_of)

    @property
    def is_first_page(self) -> bool:
        return self.before is None and self.after is None

    @property
    def query(self) -> str:
        """The address's parameters, empty or beginning with `?`."""
        pairs: list[tuple[str, str]] = [("state", state.value) for state in self.states]
        pairs += [("task", task) for task in self.tasks]
        if self.search:
            pairs.append(("q", self.search))
        for name, run_id in (("replay_of", self.replay_of), ("before", self.before), ("after", self.after)):
            if run_id is not None:
                pairs.append((name, public_id("run", run_id)))
        return f"?{urlencode(pairs)}" if pairs else ""

    def at_start(self) -> RunFilter:
        return replace(self, before=None, after=None)

    def older_than(self, run_id: UUID) -> RunFilter:
        return replace(self, before=run_id, after=None)

    def newer_than(self, run_id: UUID) -> RunFilter:
        return replace(self, before=None, after=run_id)

    def for_tasks(self, tasks: Iterable[str]) -> RunFilter:
        return replace(self.at_start(), tasks=tuple(tasks))

    @property
    def original_id(self) -> str:
        """The public id of the run whose replays are shown, empty for none."""
        return public_id("run", self.replay_of) if self.replay_of else ""

    def without_original(self) -> RunFilter:
        return replace(self.at_start(), replay_of=None)

    def without_search(self) -> RunFilter:
        return replace(self.at_start(), search="")

    def state_chips(self) -> list[StateChip]:
        """A chip for each state; choosing one that is chosen takes it away."""
        shown = [*STATES_SHOWN, *(state for state in self.states if state not in STATES_SHOWN)]
        return [self._chip(state) for state in shown]

    def task_chips(self) -> list[tuple[str, str]]:
        """Each chosen task with the parameters that take it away; one alone is shown by the choice itself."""
        if len(self.tasks) < 2:
            return []
        return [(task, self.for_tasks(other for other in self.tasks if other != task).query) for task in self.tasks]

    def _chip(self, state: RunState) -> StateChip:
        is_chosen = state in self.states
        states = [one for one in self.states if one != state] if is_chosen else [*self.states, state]
        return StateChip(STATE_BADGES[state], replace(self.at_start(), states=tuple(states)).query, is_chosen)
