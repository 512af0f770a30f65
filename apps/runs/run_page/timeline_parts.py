"""What the timeline is made from and made of: facts of a run on one side, rows with bars and marks on the other.

`timeline.py` lays them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from apps.runs.run_page.scale import Tick


@dataclass(frozen=True, slots=True)
class Boundary:
    """A checkpoint: `attempt` is the one that saved it, 0 where a replay brought it along."""

    key: str
    index: int
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StepSpan:
    """A step that an attempt ran: it ended when its result was saved."""

    key: str
    index: int
    attempt: int
    at: datetime
    seconds: float

    @property
    def began_at(self) -> datetime:
        return self.at - timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt as the timeline needs it; `finished_at` is None while it is alive."""

    number: int
    claimed_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    resumed_from: str | None
    is_success: bool
    is_failure: bool
    word: str
    tone: str = "quiet"


@dataclass(frozen=True, slots=True)
class Course:
    """The run's own times; `due_at` is set while it waits for its next attempt. `requeued_after` is the attempt behind
    which a person made it pending again, 0 for none."""

    created_at: datetime
    finished_at: datetime | None
    due_at: datetime | None = None
    requeued_after: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a row, as a class of `timeline.css`; a live one grows by `rate` percent per second up to `limit`."""

    x: float
    width: float
    kind: str
    title: str = ""
    rate: float = 0.0
    limit: float = 0.0

    @property
    def end(self) -> float:
        return self.x + self.width

    @property
    def is_live(self) -> bool:
        return self.rate > 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in a row: `checkpoint`, `restored`, `success` or `failure`."""

    x: float
    kind: str
    title: str


@dataclass(slots=True)
class Row:
    """One line of the drawing. `kind` is queued, attempt, segment, restored, backoff or more; `tone` is a badge's.

    `step_count` steps ran in it, of which `steps` are drawn.
    """

    kind: str
    label: str
    title: str = ""
    seconds: float | None = None
    live_since: datetime | None = None
    attempt: int = 0
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    steps: list[Bar] = field(default_factory=list)
    step_count: int = 0
    tone: str = ""


@dataclass(slots=True)
class Timeline:
    """`drawn_step_count` is less than `step_count` where only the longest are drawn."""

    rows: list[Row]
    ticks: list[Tick]
    corners: list[Tick]
    breaks: list[float]
    has_collapsed: bool
    can_collapse: bool
    step_count: int = 0
    drawn_step_count: int = 0
