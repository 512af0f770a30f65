"""The verdict of the campaign finds what it is there to find; no process is needed to show it."""

from dataclasses import replace

import pytest

from tests.reliability.campaign_evidence import KEYS, Ended, Entry, Evidence, Fault, Run, Stored, expected
from tests.reliability.campaign_faults import FROZEN, KINDS, chosen_kinds
from tests.reliability.campaign_verdict import SETTLE_SECONDS, begun_late, judge, repeated_segments

NUMBER = 7
SAVED, OUTPUT = expected(NUMBER)
PLACES = [
    *(f"{what} {number}" for number in range(2) for what in ("enter", "effect", "returned")),
    "enter 2", "effect 2", "within s0", "returned s0", "returned 2",
    *(f"{what} {number}" for number in range(3, 5) for what in ("enter", "effect", "returned")),
    "enter 5", "effect 5", "within s1", "returned s1", "end",
]  # fmt: skip

RELEASED = "attempts `released` whose code had begun, without a drain"
UNTOUCHED = "attempts lost to a fault that did not touch them"
STRANGE = "writes taken from another attempt than the one they stand under"
BACK = "segments run again from before an acknowledged checkpoint"


def entries(*attempts: list[str]) -> list[Entry]:
    return [
        Entry(number, 100 + number, 10.0 * number + place / 100, text)
        for number, places in enumerate(attempts, 1)
        for place, text in enumerate(places)
    ]


def stored(first_attempt: int = len(KEYS)) -> list[Stored]:
    """The first so many are the first attempt's, the others the second's."""
    return [Stored(key, SAVED[key], 1 if place < first_attempt else 2) for place, key in enumerate(KEYS)]


CLEAN = Run("run_1", "k-7", NUMBER, "completed", OUTPUT, entries(PLACES), stored(), [Ended(1, "completed", "w", 9, 15)])
BREAK = PLACES.index("effect 3")
KILLED = replace(
    CLEAN,
    entries=entries(PLACES[: BREAK + 1], PLACES[BREAK - 1 :]),
    stored=stored(4),
    attempts=[Ended(1, "lost", "w", 9, 15), Ended(2, "completed", "v", 19, 25)],
)
"""Its worker was killed in segment 3; the second attempt went on behind c2."""

KILL = Fault("kill-worker", 14, 14, worker_ids={"w"}, is_hit=True)
PROOF = Evidence({"k-7": "run_1"}, [KILLED], [KILL], 100, 100, ["kill-worker"])


def broken(evidence: Evidence) -> list[str]:
    return [finding.rule for finding in judge(evidence) if finding.is_broken]


def with_run(run: Run) -> Evidence:
    return replace(PROOF, runs=[run])


def test_run_that_nothing_disturbed_is_in_order() -> None:
    assert broken(with_run(CLEAN)) == []


def test_run_whose_worker_was_killed_is_in_order_and_has_repeated_one_segment() -> None:
    assert broken(PROOF) == []
    assert repeated_segments(KILLED) == 1


def test_run_that_was_acknowledged_and_is_gone_is_found() -> None:
    assert broken(replace(PROOF, runs=[])) == ["acknowledged runs lost"]


def test_second_run_of_one_key_is_found() -> None:
    assert broken(replace(PROOF, runs=[KILLED, replace(CLEAN, id="run_2")])) == [
        "runs made twice for one idempotency key"
    ]


@pytest.mark.parametrize(
    "run",
    [
        replace(KILLED, attempts=[Ended(1, "completed", "w", 9, 15), Ended(2, "completed", "v", 19, 25)]),
        replace(KILLED, attempts=[Ended(1, "completed", "w", 9, 15), Ended(2, "lost", "w", 12, 25)]),
        replace(CLEAN, entries=entries([*PLACES[:2], *PLACES[1:]])),
    ],
    ids=["two completed attempts", "an attempt after the completed one", "an effect done twice by one attempt"],
)
def test_run_that_finished_twice_is_found(run: Run) -> None:
    assert "runs finished twice" in broken(with_run(run))


@pytest.mark.parametrize(
    "rows", [[*stored(4)[:1], *stored(4)[2:]], [Stored("c0", {"total": 1}, 1), *stored(4)[1:]]], ids=["lost", "changed"]
)
def test_acknowledged_checkpoint_that_is_lost_or_changed_is_found(rows: list[Stored]) -> None:
    assert "acknowledged checkpoints lost or changed" in broken(with_run(replace(KILLED, stored=rows)))


@pytest.mark.parametrize(
    "run",
    [
        replace(KILLED, stored=stored(6)),
        replace(CLEAN, stored=[replace(stored()[0], at=10.0), *stored()[1:]]),
        replace(CLEAN, attempts=[Ended(1, "completed", "w", 9, 10.1)]),
        replace(CLEAN, entries=CLEAN.entries[:-1]),
    ],
    ids=["an attempt that died before", "before its effect", "completed before its end", "completed without an end"],
)
def test_write_that_the_attempt_did_not_make_is_found(run: Run) -> None:
    assert STRANGE in broken(with_run(run))


def test_attempt_that_begins_before_an_acknowledged_checkpoint_is_found() -> None:
    run = replace(KILLED, entries=entries(PLACES[: BREAK + 1], PLACES[PLACES.index("enter 2") :]))

    assert BACK in broken(with_run(run))


def test_attempt_that_begins_before_a_checkpoint_that_nobody_acknowledged_is_in_order() -> None:
    at = PLACES.index("returned 2")
    run = replace(KILLED, entries=entries(PLACES[:at], PLACES[PLACES.index("enter 3") :]))

    assert broken(with_run(run)) == []


def test_late_note_of_a_frozen_attempt_is_no_step_back() -> None:
    late = Entry(1, 101, 90.0, "effect 3")

    assert (
        broken(with_run(replace(KILLED, entries=[*KILLED.entries[:BREAK], *KILLED.entries[BREAK + 1 :], late]))) == []
    )


def test_step_that_runs_again_after_its_result_was_acknowledged_is_found() -> None:
    at = PLACES.index("returned s0") + 1
    run = replace(KILLED, entries=entries(PLACES[:at], PLACES[PLACES.index("enter 2") :]))

    assert broken(with_run(run)) == ["steps run again after their result was acknowledged"]


@pytest.mark.parametrize("place", ["enter 4", "effect 4", "within s1", "end"])
def test_place_that_is_left_out_is_found(place: str) -> None:
    run = replace(CLEAN, entries=[entry for entry in CLEAN.entries if entry.place != place])

    assert "segments left out" in broken(with_run(run))


def test_more_repeated_segments_than_ended_attempts_are_found() -> None:
    run = replace(KILLED, attempts=[Ended(1, "", "w", 9, None), Ended(2, "completed", "v", 19, 25)])

    assert "runs with more repeated segments than attempts that a fault ended" in broken(with_run(run))


def test_attempt_that_only_the_ledger_knows_is_found() -> None:
    run = replace(KILLED, attempts=KILLED.attempts[1:])

    assert "attempts in a ledger that the database does not know" in broken(with_run(run))


@pytest.mark.parametrize(
    "run",
    [
        replace(CLEAN, output={**OUTPUT, "total": 1}),
        replace(CLEAN, stored=stored()[1:]),
        replace(KILLED, state="dead_letter", attempts=[KILLED.attempts[0], Ended(2, "crashed", "w", 19, 25)]),
    ],
    ids=["another output", "a checkpoint that is missing", "a dead letter after two kills"],
)
def test_wrong_end_is_found(run: Run) -> None:
    assert "outputs or final states that are wrong" in broken(with_run(run))


@pytest.mark.parametrize(("worker", "is_broken"), [("w", False), ("x", True)], ids=["by faults", "by nothing"])
def test_dead_letter_after_three_kills_at_one_place_is_right_where_faults_made_them(
    worker: str, is_broken: bool
) -> None:
    ends = [Ended(number, "lost", worker, 9, 15 + number) for number in range(1, 4)]
    places = [PLACES[: BREAK + 1], *[PLACES[BREAK - 1 : BREAK]] * 2]
    run = replace(
        KILLED, state="dead_letter", output=None, stored=stored()[:4], attempts=ends, entries=entries(*places)
    )

    assert ("outputs or final states that are wrong" in broken(with_run(run))) == is_broken


@pytest.mark.parametrize(("kind", "is_broken"), [("kill-worker", True), ("drain:worker", False)])
def test_release_of_an_attempt_whose_code_had_begun_is_right_for_a_drain_alone(kind: str, is_broken: bool) -> None:
    run = replace(KILLED, attempts=[Ended(1, "released", "w", 9, 15), KILLED.attempts[1]])
    evidence = replace(with_run(run), faults=[replace(KILL, kind=kind)], wanted_kinds=[kind])

    assert broken(evidence) == ([RELEASED] if is_broken else [])


def test_code_that_a_woken_worker_begins_after_its_claim_was_released_is_only_counted() -> None:
    run = replace(KILLED, attempts=[Ended(1, "released", "w", 3, 9), KILLED.attempts[1]])

    assert broken(with_run(run)) == []
    assert begun_late(run) == [run.attempts[0]]


def test_drain_that_burns_an_attempt_is_found() -> None:
    fault = replace(KILL, kind="drain:worker")

    assert broken(replace(PROOF, faults=[fault], wanted_kinds=["drain:worker"])) == [UNTOUCHED]


@pytest.mark.parametrize(
    ("fault", "is_broken"),
    [
        (replace(KILL, worker_ids=set(), run_ids={"run_1"}), False),
        (replace(KILL, worker_ids=set(), run_ids={"run_2"}), True),
        (replace(KILL, worker_ids={"v"}), True),
        (replace(KILL, begun_at=15.5, ended_at=16), True),
        (replace(KILL, begun_at=5, ended_at=6), True),
        (replace(KILL, begun_at=5, ended_at=6, is_final=True), False),
    ],
    ids=["its own row", "another run's row", "another worker", "later", "earlier", "earlier, its worker for ever"],
)
def test_attempt_that_no_fault_has_touched_must_not_be_lost(fault: Fault, is_broken: bool) -> None:
    assert broken(replace(PROOF, faults=[fault])) == ([UNTOUCHED] if is_broken else [])


def test_claim_that_was_given_back_before_its_code_began_needs_no_fault() -> None:
    run = replace(
        CLEAN,
        entries=[replace(entry, attempt=2) for entry in CLEAN.entries],
        stored=stored(0),
        attempts=[Ended(1, "released", "x", 9, 15), Ended(2, "completed", "v", 19, 25)],
    )

    assert broken(replace(with_run(run))) == []


@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (replace(PROOF, wrong_answers=["k-7: 500"]), "answers to clients that were wrong"),
        (replace(PROOF, exits=["web-0.0"]), "programs that exited by themselves or did not come back"),
        (replace(PROOF, orphans=["run_1"]), "containers left without a run"),
        (replace(PROOF, faults=[replace(KILL, is_hit=False)]), "faults that hit nothing"),
        (replace(PROOF, wanted_kinds=["kill-worker", "kill-web"]), "faults that hit nothing"),
        (replace(PROOF, answered=94), "share of operations acknowledged (≥ 0.95)"),
        (replace(PROOF, settle_seconds=SETTLE_SECONDS + 1), "seconds until all was final after the faults (≤ 120)"),
        (with_run(replace(KILLED, state="running")), "seconds until all was final after the faults (≤ 120)"),
    ],
    ids=["answer", "exit", "orphan", "fault without effect", "fault left out", "share", "late", "unfinished"],
)
def test_what_concerns_the_whole_campaign_is_found(evidence: Evidence, rule: str) -> None:
    assert rule in broken(evidence)


def test_kinds_are_chosen_by_how_they_begin() -> None:
    assert set(chosen_kinds("")) == set(KINDS) - {"kill-container", "kill-engine"}
    assert set(chosen_kinds("", "docker")) == set(KINDS) - {"kill-agent"}
    assert chosen_kinds("zombie, kill-web") == ["kill-web", *FROZEN]
    with pytest.raises(ValueError, match="kill-engine is no fault of this executor"):
        chosen_kinds("kill-engine")
