from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from apps.runs.run_page.timeline import SEGMENTS_SHOWN, STEPS_DRAWN, layout
from apps.runs.run_page.timeline_parts import Boundary, Course, Row, StepSpan, Timeline, Try

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(
    number: int,
    claimed: float,
    finished: float | None,
    *,
    started: float | None = None,
    resumed_from: str | None = None,
    is_success: bool = False,
) -> Try:
    return Try(
        number=number,
        claimed_at=at(claimed),
        started_at=None if started is None else at(started),
        finished_at=None if finished is None else at(finished),
        resumed_from=resumed_from,
        is_success=is_success,
        is_failure=finished is not None and not is_success,
        word="Completed" if is_success else "Failed",
    )


def boundary(key: str, index: int, number: int, seconds: float) -> Boundary:
    return Boundary(key, index, number, at(seconds))


def kinds(timeline: Timeline) -> list[str]:
    return [row.kind for row in timeline.rows]


def row(timeline: Timeline, kind: str, position: int = 0) -> Row:
    return [one for one in timeline.rows if one.kind == kind][position]


def order_that_failed_at_the_payment() -> Timeline:
    return layout(
        Course(START, at(8)),
        [
            attempt(1, 1, 3, started=1),
            attempt(2, 5, 8, started=5, resumed_from="order-fetched", is_success=True),
        ],
        [boundary("order-fetched", 0, 1, 2), boundary("payment-complete", 1, 2, 7)],
        now=at(100),
    )


def test_run_without_attempts_is_one_live_queued_row() -> None:
    timeline = layout(Course(START, None), [], [], now=at(4))

    assert kinds(timeline) == ["queued"]
    assert timeline.rows[0].live_since == START
    assert timeline.rows[0].bars[0].is_live


def test_rows_follow_the_course_of_the_run() -> None:
    timeline = order_that_failed_at_the_payment()

    assert kinds(timeline) == [
        "queued",
        "attempt",
        "segment",  # order-fetched
        "segment",  # failed
        "backoff",
        "attempt",
        "restored",
        "segment",  # payment-complete
        "segment",  # return
    ]


def test_places_are_proportional_to_time() -> None:
    timeline = order_that_failed_at_the_payment()

    segment = row(timeline, "segment").bars[0]
    queued = row(timeline, "queued").bars[0]
    assert queued.x == 0
    assert segment.x == pytest.approx(queued.width)
    assert segment.width == pytest.approx(queued.width)  # both lasted one second
    assert row(timeline, "segment", 3).bars[0].end == pytest.approx(98.5)


def test_what_a_later_attempt_skipped_is_restored_not_run() -> None:
    timeline = order_that_failed_at_the_payment()

    ran = row(timeline, "segment").bars[0]
    ghost, thread = row(timeline, "restored").bars
    second = row(timeline, "attempt", 1)
    assert (ghost.kind, thread.kind) == ("ghost", "thread")
    assert (ghost.x, ghost.width) == pytest.approx((ran.x, ran.width))
    assert thread.end == pytest.approx(second.bars[0].x)
    assert {bar.kind for bar in second.bars} == {"run"}
    assert min(bar.x for bar in second.bars) > ghost.end


def test_steps_of_a_failure_are_kept_and_only_the_rest_is_lost() -> None:
    timeline = layout(
        Course(START, at(20)),
        [attempt(1, 0, 10, started=0), attempt(2, 12, 20, started=12, resumed_from="listed", is_success=True)],
        [boundary("listed", 0, 1, 1)],
        now=at(100),
        steps=[
            StepSpan("page-1", 1, 1, at(4), 2),
            StepSpan("page-2", 2, 1, at(6), 2),
            StepSpan("page-3", 3, 1, at(9), 1),
            StepSpan("page-4", 4, 2, at(15), 1),
        ],
    )

    failed = row(timeline, "segment", 1)
    lane = row(timeline, "attempt")
    assert [bar.kind for bar in failed.bars] == ["lost", "run", "lost", "run", "lost"]
    assert [bar.kind for bar in lane.bars] == ["run", *(bar.kind for bar in failed.bars)]
    assert all(before.end == pytest.approx(after.x) for before, after in pairwise(failed.bars))


def test_thousands_of_kept_steps_are_few_bars() -> None:
    steps = [StepSpan(f"page-{n}", n, 1, at(n + 0.9), 0.8) for n in range(5_000)]
    timeline = layout(Course(START, at(5_000)), [attempt(1, 0, 5_000, started=0)], [], now=at(6_000), steps=steps)

    assert len(row(timeline, "segment").bars) <= 2


def test_work_after_the_last_checkpoint_of_a_failure_is_lost() -> None:
    timeline = order_that_failed_at_the_payment()

    lost = row(timeline, "segment", 1)
    assert lost.label == "failed"
    assert lost.bars[0].kind == "lost"
    assert [mark.kind for mark in lost.marks] == ["failure"]
    assert [mark.kind for mark in row(timeline, "segment", 3).marks] == ["success"]


def test_attempt_without_checkpoints_has_no_segment_rows() -> None:
    timeline = layout(Course(START, at(2)), [attempt(1, 0, 2, is_success=True)], [], now=at(9))

    assert kinds(timeline) == ["queued", "attempt"]


def test_start_of_the_container_is_drawn_before_the_first_segment() -> None:
    timeline = layout(Course(START, at(4)), [attempt(1, 0, 4, started=1, is_success=True)], [], now=at(9))

    start, ran = row(timeline, "attempt").bars
    assert (start.kind, ran.kind) == ("start", "run")
    assert ran.x == pytest.approx(start.end)


def test_running_attempt_ends_in_a_live_bar_with_room_to_grow() -> None:
    timeline = layout(Course(START, None), [attempt(1, 0, None, started=0)], [], now=at(10))

    bar = row(timeline, "attempt").bars[0]
    assert bar.is_live
    assert bar.limit > bar.width
    assert bar.width + bar.rate * 1 == pytest.approx(bar.width * 1.1)  # one more second of ten


def test_wait_for_a_retry_reaches_to_its_due_time() -> None:
    course = Course(START, None, due_at=at(6))
    timeline = layout(course, [attempt(1, 0, 2)], [], now=at(3))

    backoff = row(timeline, "backoff")
    assert backoff.seconds == 4
    assert not backoff.bars[0].is_live
    assert backoff.bars[0].end == pytest.approx(98.5)


def test_overdue_retry_goes_on_growing() -> None:
    timeline = layout(Course(START, None, due_at=at(3)), [attempt(1, 0, 2)], [], now=at(5))

    assert row(timeline, "backoff").bars[0].is_live


def test_long_backoff_is_collapsed_and_the_work_keeps_its_room() -> None:
    attempts = [attempt(1, 0, 1), attempt(2, 3601, 3602, is_success=True)]

    collapsed = layout(Course(START, at(3602)), attempts, [], now=at(9999))
    to_scale = layout(Course(START, at(3602)), attempts, [], now=at(9999), is_to_scale=True)

    assert collapsed.has_collapsed
    assert len(collapsed.breaks) == 1
    assert row(collapsed, "attempt").bars[0].width > 40
    assert not to_scale.has_collapsed
    assert to_scale.can_collapse
    assert row(to_scale, "attempt").bars[0].width < 1


def test_ticks_avoid_collapsed_stretches_and_each_other() -> None:
    attempts = [attempt(1, 0, 1), attempt(2, 3601, 3602, is_success=True)]

    timeline = layout(Course(START, at(3602)), attempts, [], now=at(9999))

    offsets = [tick.offset_seconds for tick in timeline.ticks]
    places = [tick.x for tick in timeline.ticks]
    assert all(offset <= 1 or offset >= 3601 for offset in offsets)
    assert all(later - earlier >= 9 for earlier, later in pairwise(places))


def test_corners_let_the_page_turn_places_back_into_times() -> None:
    timeline = order_that_failed_at_the_payment()

    corners = [(corner.offset_seconds, corner.x) for corner in timeline.corners]
    assert [offset for offset, _ in corners] == [0, 1, 3, 5, 8]
    assert corners[-1][1] == pytest.approx(98.5)


def test_replay_restores_without_a_ghost_of_another_run() -> None:
    brought = boundary("order-fetched", 0, 0, -500)
    tries = [attempt(1, 1, 2, resumed_from="order-fetched", is_success=True)]

    timeline = layout(Course(START, at(2)), tries, [brought], now=at(9))

    restored = row(timeline, "restored")
    assert restored.bars == []
    assert [mark.kind for mark in restored.marks] == ["restored"]


def test_many_segments_keep_both_ends_and_count_the_middle() -> None:
    boundaries = [boundary(f"page-{n}", n, 1, 1 + n / 100) for n in range(1000)]

    timeline = layout(Course(START, at(20)), [attempt(1, 0, 20, is_success=True)], boundaries, now=at(30))

    assert len(timeline.rows) == 2 + SEGMENTS_SHOWN + 1
    assert row(timeline, "more").label == f"{1001 - SEGMENTS_SHOWN:,} more segments"
    assert len(row(timeline, "attempt").marks) < 200


def test_every_place_is_within_the_drawing_even_when_clocks_disagree() -> None:
    skewed = [attempt(1, -2, 3, started=-3), attempt(2, 2.5, 4, started=2, resumed_from="gone", is_success=True)]

    timeline = layout(Course(START, at(4)), skewed, [boundary("late", 0, 1, 50)], now=at(60))

    bars = [bar for one in timeline.rows for bar in one.bars]
    assert bars
    assert all(0 <= bar.x <= 100 and 0 <= bar.width <= 100 for bar in bars)


def step(index: int, number: int, seconds: float, took: float) -> StepSpan:
    return StepSpan(f"step-{index}", index, number, at(seconds), took)


def test_steps_lie_in_the_segment_in_which_they_ran() -> None:
    timeline = layout(
        Course(START, at(10)),
        [attempt(1, 0, 10, started=0, is_success=True)],
        [boundary("listed", 1, 1, 4)],
        now=at(10),
        steps=[step(0, 1, 2, 1), step(2, 1, 6, 1), step(3, 1, 8, 2)],
    )

    first, tail = (row(timeline, "segment", position) for position in (0, 1))
    assert (first.step_count, tail.step_count) == (1, 2)
    assert [bar.title for bar in tail.steps] == ["step-2", "step-3"]
    assert tail.steps[1].x == pytest.approx(first.bars[0].x + 6 * 9.85)
    assert tail.steps[1].width == pytest.approx(2 * 9.85)
    assert (timeline.step_count, timeline.drawn_step_count) == (3, 3)


def test_only_the_longest_steps_are_drawn_and_all_are_counted() -> None:
    steps = [step(index, 1, index / 10, 0.2 if index % 10 == 0 else 0.01) for index in range(2_000)]

    timeline = layout(Course(START, at(200)), [attempt(1, 0, 200, started=0)], [], now=at(200), steps=steps)

    tail = row(timeline, "segment")
    assert tail.step_count == timeline.step_count == 2_000
    assert len(tail.steps) == timeline.drawn_step_count == STEPS_DRAWN
    assert {int(bar.title.removeprefix("step-")) % 10 for bar in tail.steps} == {0}


def test_step_that_seems_to_begin_before_its_attempt_is_cut() -> None:
    timeline = layout(Course(START, at(8)), [attempt(1, 2, 8, started=2)], [], now=at(8), steps=[step(0, 1, 3, 100)])

    assert row(timeline, "segment").steps[0].x == pytest.approx(row(timeline, "segment").bars[0].x)


def test_steps_of_left_out_segments_are_counted_with_them() -> None:
    count = SEGMENTS_SHOWN * 3
    boundaries = [boundary(f"b{n}", 2 * n + 1, 1, n + 1) for n in range(count)]
    steps = [step(2 * n, 1, n + 0.5, 0.1) for n in range(count)]

    timeline = layout(Course(START, at(count)), [attempt(1, 0, count)], boundaries, now=at(count), steps=steps)

    assert row(timeline, "more").step_count > SEGMENTS_SHOWN
    assert sum(one.step_count for one in timeline.rows) == count


def test_time_as_a_dead_letter_is_no_backoff() -> None:
    timeline = layout(
        Course(START, at(40), requeued_after=2),
        [attempt(1, 0, 2), attempt(2, 5, 8), attempt(3, 30, 40, is_success=True)],
        [],
        now=at(50),
    )

    assert [row(timeline, "backoff", position).label for position in (0, 1)] == ["Backoff", "Dead letter"]
