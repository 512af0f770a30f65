"""What a claim may start, reckoned from one snapshot: free slots per scope, dealt lane by lane.

Pure functions of a state; knows no transaction.
"""

from tests.models.slot_state import Rate, Size, State


class Planner:
    def __init__(self, size: Size, weakening: str = "") -> None:
        self.size = size
        self.weak = weakening
        self.members = size.members()
        self.scopes_of = [
            tuple(i for i, members in enumerate(self.members) if r in members) for r in range(len(size.runs))
        ]
        self.lanes = self._lanes()

    def _lanes(self) -> list[tuple[int, ...]]:
        """The runs of each lane, highest priority first: the higher number, so that bulk verbs go the other way."""
        lanes: dict[tuple[str, ...], list[int]] = {}
        for r, kind in reversed(list(enumerate(self.size.runs))):
            name = (kind.queue, kind.key) if self.weak == "lane_without_task" else (kind.queue, kind.task, kind.key)
            lanes.setdefault(name, []).append(r)
        return [tuple(runs) for runs in lanes.values()]

    def plan(self, s: State, first: int, rate_free: int) -> tuple[int, ...]:
        """Starts allowed per lane, dealt from lane `first` on; `rate_free` as the rate row allows."""
        free = [self.free(s, scope) for scope in range(len(s.limits))]
        left = min(self.size.capacity, rate_free)
        dealt = [0] * len(self.lanes)
        for offset in range(len(self.lanes)):
            lane = (first + offset) % len(self.lanes)
            pending = [r for r in self.lanes[lane] if s.runs[r] == "p"]
            if not pending:
                continue
            scopes = self.scopes_of[pending[0]]
            share = min([left, len(pending), *(free[scope] for scope in scopes)])
            dealt[lane] = share
            left -= share
            if self.weak != "budget_used_twice":
                for scope in scopes:
                    free[scope] -= share
        return tuple(dealt)

    def free(self, s: State, scope: int) -> int:
        """Slots that a survey finds free."""
        name = self.size.limits[scope][0]
        if self.weak == "total_not_counted" and self._is_total(name):
            return len(s.runs)
        ignores_pause = self.weak in ("pause_only_at_trigger", "blocked_lane_is_dealt_slots")
        if not s.open_scopes[scope] and not ignores_pause:
            return 0
        return max(0, s.limits[scope] - self._counted(s, scope))

    def _is_total(self, name: str) -> bool:
        return name.startswith("task ") and any(k.task == name[5:] and k.key for k in self.size.runs)

    def _counted(self, s: State, scope: int) -> int:
        if self.weak == "counter_column":
            return s.counters[scope]
        if self.weak == "held_rows_not_counted":
            return sum(s.runs[r] == "r" and not s.held[r] for r in self.members[scope])
        return self.running(s, scope)

    def running(self, s: State, scope: int) -> int:
        return sum(s.runs[r] == "r" for r in self.members[scope])

    def is_open(self, s: State, r: int) -> bool:
        return all(s.open_scopes[scope] for scope in self.scopes_of[r])

    def may_start(self, s: State, r: int) -> bool:
        """What the limits promise, said without any lane or plan."""
        return (
            s.runs[r] == "p"
            and self.is_open(s, r)
            and all(self.running(s, scope) < s.limits[scope] for scope in self.scopes_of[r])
        )

    def starts_something(self, s: State, first: int, rate_free: int) -> bool:
        """Whether a claim that nothing disturbs would start a run."""
        plan = self.plan(s, first, rate_free)
        skips_paused = self.weak == "blocked_lane_is_dealt_slots"
        return any(
            dealt and any(s.runs[r] == "p" and (self.is_open(s, r) or not skips_paused) for r in lane)
            for dealt, lane in zip(plan, self.lanes, strict=True)
        )


def rate_free(rate: Rate | None, ahead: int) -> int:
    """GCRA: starts allowed now, where the theoretical arrival time lies `ahead` ticks ahead."""
    if rate is None:
        return 1_000
    return max(0, (rate.burst * rate.interval - max(ahead, 0)) // rate.interval)


def widest_window(rate: Rate, starts: tuple[int, ...]) -> bool:
    """Whether every window, both ends included, holds at most burst + length / interval starts."""
    return all(
        sum(new <= age <= old for age in starts) <= rate.burst + (old - new) // rate.interval
        for old in starts
        for new in starts
        if new <= old
    )
