"""The filters of runs, one record each: behind the list's page, the API's `GET /runs` and `trigger runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import QueryDict
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from apps.http.answers import timestamp
from apps.http.filters import Chosen, Filter, FilterTable, column
from apps.http.moments import Moment
from apps.runs.badges import STATE_BADGES, Badge
from apps.runs.models import QUEUE_MAX_LENGTH, TAG_MAX_LENGTH, TASK_ID_MAX_LENGTH, RunQuerySet, Task
from apps.runs.states import RunState
from apps.storage.ids import parse_public_id, public_id

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
TASK_CHOICES_LIMIT = 500

CLOCK_MARGIN = timedelta(hours=1)
"""Ids carry the clock of the web process, `created_at` the database's: so far apart they may be."""


def _run_id(value: Any) -> UUID:
    found = parse_public_id("run", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not the id of a run")
    return found


RunId = Annotated[UUID, BeforeValidator(_run_id), WithJsonSchema({"type": "string"})]


def tagged(values: Sequence[str]) -> Q:
    return Q(tags__contains=list(values)) & ~Q(tags=[])  # the second names the index's condition


def _created_since(values: Sequence[datetime]) -> Q:
    return Q(created_at__gte=values[0], id__gte=_first_id_at(values[0] - CLOCK_MARGIN))


def _created_before(values: Sequence[datetime]) -> Q:
    return Q(created_at__lt=values[0], id__lt=_first_id_at(values[0] + CLOCK_MARGIN))


def _first_id_at(at: datetime) -> UUID:
    """The smallest UUIDv7 of that time: what the index on ids begins at."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def _of_matching_tasks(values: Sequence[str]) -> Q:
    # Two steps: joined, the planner walks a million runs to find that none has such a task.
    matching = Task.objects.filter(id__icontains=values[0]).order_by("id").values_list("id", flat=True)
    return Q(task_id__in=list(matching[:SEARCHED_TASKS_LIMIT]))


def _task_ids() -> list[str]:
    tasks = Task.objects.filter(is_retired=False).order_by("id")
    return list(tasks.values_list("id", flat=True)[:TASK_CHOICES_LIMIT])


def _moment_text(at: datetime) -> str:
    return timestamp(at) or ""


RUN_FILTERS = FilterTable(
    Filter("state", "State", RunState, column("state"), is_multiple=True, suggest=lambda: list(RunState.values)),
    Filter(
        "task",
        "Task",
        Annotated[str, Field(max_length=TASK_ID_MAX_LENGTH)],
        column("task_id"),
        is_multiple=True,
        suggest=_task_ids,
    ),
    Filter("queue", "Queue", Annotated[str, Field(max_length=QUEUE_MAX_LENGTH)], column("queue")),
    Filter("tag", "Tag", Annotated[str, Field(max_length=TAG_MAX_LENGTH)], tagged),
    Filter(
        "since",
        "Since",
        Moment,
        _created_since,
        "Created at or after this time (RFC 3339, with an offset).",
        write=_moment_text,
    ),
    Filter("until", "Until", Moment, _created_before, "Created before this time.", write=_moment_text),
    Filter(
        "replay_of",
        "Replays of",
        RunId,
        column("replay_of_id"),
        "Replays of this run.",
        write=lambda run_id: public_id("run", run_id),
    ),
)

PAGE_FILTERS = RUN_FILTERS.and_also(
    Filter("q", "Search", Annotated[str, AfterValidator(str.strip), Field(min_length=1)], _of_matching_tasks)
)


@dataclass(frozen=True, slots=True)
class StateChip:
    badge: Badge
    query: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs, and where in the list: `before` goes to older runs, `after` to newer ones."""

    chosen: Chosen
    before: UUID | None = None
    after: UUID | None = None

    @classmethod
    def read(cls, parameters: QueryDict) -> RunFilter:
        return cls(
            chosen=PAGE_FILTERS.read(parameters),
            before=parse_public_id("run", parameters.get("before", "")),
            after=parse_public_id("run", parameters.get("after", "")),
        )

    def apply(self, runs: RunQuerySet) -> RunQuerySet:
        """The runs that match, wherever in the list they stand."""
        found: RunQuerySet = self.chosen.apply(runs)
        return found

    @property
    def is_empty(self) -> bool:
        return self.chosen.is_empty

    @property
    def is_first_page(self) -> bool:
        return self.before is None and self.after is None

    @property
    def query(self) -> str:
        """The address's parameters, empty or beginning with `?`."""
        pairs = self.chosen.pairs
        for name, run_id in (("before", self.before), ("after", self.after)):
            if run_id is not None:
                pairs.append((name, public_id("run", run_id)))
        return f"?{urlencode(pairs)}" if pairs else ""

    def at_start(self) -> RunFilter:
        return replace(self, before=None, after=None)

    def older_than(self, run_id: UUID) -> RunFilter:
        return replace(self, before=run_id, after=None)

    def newer_than(self, run_id: UUID) -> RunFilter:
        return replace(self, before=None, after=run_id)

    @property
    def search(self) -> str:
        return next(iter(self.chosen["q"]), "")

    @property
    def original_id(self) -> str:
        """The public id of the run whose replays are shown, empty for none."""
        return next((public_id("run", run_id) for run_id in self.chosen["replay_of"]), "")

    @property
    def chosen_task(self) -> str:
        """The one task that is chosen; empty for none and for several."""
        tasks = self.chosen["task"]
        return tasks[0] if len(tasks) == 1 else ""

    @property
    def pairs_beside_search(self) -> list[tuple[str, str]]:
        """What the search form keeps."""
        return [pair for pair in self.chosen.pairs if pair[0] != "q"]

    @property
    def pairs_beside_task(self) -> list[tuple[str, str]]:
        """What the choice of a task keeps."""
        return [pair for pair in self.chosen.pairs if pair[0] != "task"]

    def without_original(self) -> RunFilter:
        return RunFilter(self.chosen.having("replay_of"))

    def without_search(self) -> RunFilter:
        return RunFilter(self.chosen.having("q"))

    def state_chips(self) -> list[StateChip]:
        """A chip for each state; choosing one that is chosen takes it away."""
        states = self.chosen["state"]
        return [self._chip(state) for state in (*STATES_SHOWN, *(one for one in states if one not in STATES_SHOWN))]

    def removals(self) -> list[tuple[str, str]]:
        """Each value that is chosen and has no chip of its own kind, with the parameters that take it away."""
        return [
            (
                str(value) if each.name == "task" else f"{each.label} {each.write(value)}",
                RunFilter(self.chosen.without(each.name, value)).query,
            )
            for each in PAGE_FILTERS
            if each.name not in ("state", "replay_of", "q")
            for value in self.chosen[each.name]
        ]

    def _chip(self, state: RunState) -> StateChip:
        states = self.chosen["state"]
        is_chosen = state in states
        kept = [one for one in states if one != state] if is_chosen else [*states, state]
        return StateChip(STATE_BADGES[state], RunFilter(self.chosen.having("state", *kept)).query, is_chosen)
