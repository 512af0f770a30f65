"""What a coordinator remembers of lanes: turns, places and when to look for new ones."""

from uuid import UUID

from apps.queues.claim.lanes import FIND_PAUSE_SECONDS, LANE_LIMIT, START, Lanes, Place
from apps.queues.claim.shares import Lane

A, B, C = (Lane("q", "t", key) for key in "abc")
PLACE = Place(0, UUID(int=7))


def found(lanes: Lanes, *each: Lane, began_at: float = 0.0, ended_at: float = 0.001) -> None:
    lanes.found(each, began_at=began_at, ended_at=ended_at)


def test_who_was_served_goes_to_the_end() -> None:
    lanes = Lanes()
    found(lanes, A, B, C)

    lanes.served({A: PLACE})

    assert lanes.all() == [B, C, A]
    assert lanes.place(A) == PLACE


def test_turns_do_not_follow_the_age_of_runs() -> None:
    lanes = Lanes()
    found(lanes, A, B, C)

    lanes.served({B: PLACE, A: PLACE})

    assert lanes.all() == [C, A, B]


def test_find_keeps_turns_and_forgets_places() -> None:
    lanes = Lanes()
    found(lanes, A, B)
    lanes.served({A: PLACE})

    found(lanes, A, B, C)

    assert lanes.all() == [B, A, C]
    assert lanes.place(A) == START


def test_flooding_lane_comes_after_one_that_comes_back() -> None:
    lanes = Lanes()
    found(lanes, A, B)
    lanes.served({A: PLACE, B: PLACE})
    lanes.drained([B])

    found(lanes, A, B)
    lanes.served({A: PLACE})

    assert lanes.all() == [B, A]


def test_tasks_of_one_queue_and_key_are_one_group() -> None:
    lanes = Lanes()
    other = Lane("q", "other", "a")
    found(lanes, A, other, B)

    lanes.served({A: PLACE})

    assert lanes.all() == [B, A, other]
    lanes.drained([A])
    assert lanes.all() == [B, other]


def test_pause_between_finds_grows_with_their_cost() -> None:
    lanes = Lanes()
    shortest, longest = FIND_PAUSE_SECONDS

    found(lanes, A, began_at=10.0, ended_at=10.0001)
    assert not lanes.may_find(10.0001 + shortest / 2)
    assert lanes.may_find(10.0002 + shortest)
    found(lanes, A, began_at=20.0, ended_at=20.1)
    assert not lanes.may_find(20.4)
    assert lanes.may_find(20.6)
    found(lanes, A, began_at=30.0, ended_at=90.0)
    assert lanes.may_find(90.1 + longest)


def test_full_page_of_keys_is_turned() -> None:
    lanes = Lanes()
    keys = [f"{number:05}" for number in range(LANE_LIMIT)]

    found(lanes, *(Lane("q", "t", key) for key in keys), Lane("q", "small", ""))
    assert lanes.from_keys == {("q", "t"): keys[-1]}
    found(lanes, Lane("q", "t", "zzz"))
    assert lanes.from_keys == {}
