"""How slots are divided: within every bound, by turns, and never less than there is room for."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.queues.claim.shares import Bound, Group, Lane, Room, Terms, plan, terms_of

ROW: dict[str, Any] = {
    "queue": "q", "task_id": "t", "concurrency_key": "",
    "is_retired": False, "deployment_id": None, "is_cooling": False, "is_probing": False, "now": None,
    "queue_limit": None, "task_limit": None, "key_limit": None,
    "queue_running": 0, "task_running": 0, "key_running": 0,
    "queue_rate": None, "task_rate": None, "key_rate": None, "queue_ahead": 0.0, "task_ahead": 0.0, "key_ahead": 0.0,
}  # fmt: skip


def terms(**overrides: Any) -> Terms:
    return terms_of(SimpleNamespace(**{**ROW, **overrides}))


def grouped(*each: Terms) -> dict[Group, list[Terms]]:
    groups: dict[Group, list[Terms]] = {}
    for one in each:
        groups.setdefault(one.lane.group, []).append(one)
    return groups


def counts(planned: Any) -> dict[str, int]:
    return {group.group.concurrency_key: group.count for group in planned}


def test_limits_leave_what_is_not_running() -> None:
    found = terms(queue_limit=10, queue_running=4, key_limit=2, key_running=2)

    assert found.slots == {Bound("queue", "q"): 6, Bound("key", "t", ""): 0}
    assert not Room.of([found]).is_open(found)
    assert Room.of([found]).of_queue(found) == 6


def test_limit_lowered_below_what_runs_leaves_no_room() -> None:
    found = terms(task_limit=1, task_running=5)

    assert Room.of([found]).of_lane(found) == 0


def test_cooling_task_gets_one_probe() -> None:
    idle, busy = terms(is_cooling=True, task_limit=5, task_running=3), terms(is_cooling=True, is_probing=True)
    full = terms(is_cooling=True, task_limit=3, task_running=3)

    assert Room.of([idle]).of_lane(idle) == 1
    assert Room.of([full]).of_lane(full) == 0
    assert Room.of([busy]).of_lane(busy) == 0


def test_rate_bounds_what_may_start_now() -> None:
    found = terms(task_rate="100/m", task_ahead=3.0)

    assert Room.of([found]).of_lane(found) == 5


def test_groups_share_equally_and_the_first_get_the_remainder() -> None:
    each = [terms(concurrency_key=key) for key in "abc"]

    planned = plan(grouped(*each), Room.of(each), 8)

    assert counts(planned) == {"a": 3, "b": 3, "c": 2}


def test_more_groups_than_slots_take_turns() -> None:
    each = [terms(concurrency_key=key) for key in "abcde"]

    assert counts(plan(grouped(*each), Room.of(each), 2)) == {"a": 1, "b": 1}


def test_what_a_full_key_leaves_goes_to_the_others() -> None:
    each = [terms(concurrency_key="full", key_limit=1, key_running=1), terms(concurrency_key="free")]

    assert counts(plan(grouped(*each), Room.of(each), 10)) == {"free": 10}


def test_total_of_a_task_holds_over_its_keys_in_one_plan() -> None:
    each = [terms(concurrency_key=key, task_limit=5, task_running=2) for key in "abcd"]

    planned = plan(grouped(*each), Room.of(each), 100)

    assert sum(counts(planned).values()) == 3


def test_lanes_of_a_group_may_each_get_all_that_their_queue_leaves() -> None:
    each = [terms(task_id=task, queue_limit=3, key_limit=limit) for task, limit in (("a", 9), ("b", 2))]

    (group,) = plan(grouped(*each), Room.of(each), 10)

    assert (group.count, [take.count for take in group.takes]) == (3, [3, 2])


def test_lane_is_squeezed_by_what_groups_before_it_book_and_not_by_what_runs() -> None:
    each = [
        terms(task_id=task, concurrency_key=key, task_limit=limit, task_running=1)
        for key in "abc" for task, limit in (("t", 3), ("u", 2), ("v", None))
    ]  # fmt: skip

    planned = plan(grouped(*each), Room.of(each), 6)

    assert [[(take.terms.lane.task_id, take.count, take.is_squeezed) for take in g.takes] for g in planned] == [
        [("t", 2, False), ("u", 1, False), ("v", 2, False)],
        [("t", 0, True), ("u", 0, True), ("v", 2, False)],
        [("t", 0, True), ("u", 0, True), ("v", 2, False)],
    ]


def test_lane_that_is_alone_in_its_group_is_not_squeezed() -> None:
    each = [terms(concurrency_key=key, task_limit=2) for key in "ab"]

    planned = plan(grouped(*each), Room.of(each), 6)

    assert [(group.count, group.is_squeezed) for group in planned] == [(2, False)]


def test_rest_is_booked_back() -> None:
    found = terms(queue_limit=4, queue_rate="10/s")
    room = Room.of([found])
    (group,) = plan(grouped(found), room, 4)

    room.book_queue(found, -group.count)

    assert room.of_queue(found) == 1
    assert room.charges == {Bound("queue", "q"): 0}


lanes = st.builds(
    Lane, st.sampled_from(["q1", "q2"]), st.sampled_from(["t1", "t2", "t3"]), st.sampled_from(["", "a", "b", "c"])
)
limits = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Terms], dict[Bound, int], int]:
    """Lanes under limits that agree with each other, and what is left of each limit."""
    left: dict[Bound, int] = {}
    found = []
    for lane in draw(st.lists(lanes, unique=True, min_size=1, max_size=12)):
        values: dict[str, Any] = {}
        for scope, bound in {
            "queue": Bound("queue", lane.queue),
            "task": Bound("task", lane.task_id),
            "key": Bound("key", lane.task_id, lane.concurrency_key),
        }.items():
            limit = left.setdefault(bound, draw(limits) if draw(st.booleans()) else -1)  # type: ignore[arg-type]
            values[f"{scope}_limit"] = None if limit in (None, -1) else limit
        found.append(terms(queue=lane.queue, task_id=lane.task_id, concurrency_key=lane.concurrency_key, **values))
    return found, {b: n for b, n in left.items() if n is not None and n >= 0}, draw(st.integers(1, 40))


@given(situations())
def test_no_plan_breaks_a_bound_and_none_leaves_out_who_has_room(
    situation: tuple[list[Terms], dict[Bound, int], int],
) -> None:
    found, left, capacity = situation

    planned = plan(grouped(*found), Room.of(found), capacity)

    used: Counter[Bound] = Counter()
    for group in planned:
        assert 0 < group.count <= sum(take.count for take in group.takes)
        for take in group.takes:
            used.update({bound: take.count for bound in take.terms.slots if bound.scope != "queue"})
        used.update({bound: group.count for bound in group.takes[0].terms.slots if bound.scope == "queue"})
    assert all(used[bound] <= room for bound, room in left.items())
    assert sum(group.count for group in planned) <= capacity
    if not planned:
        assert not any(map(Room.of(found).is_open, found))
