"""Actions of the model's machine: what workers write about their attempts, and what time does."""

from __future__ import annotations

from uuid import UUID

from hypothesis import strategies as st

from apps.runs.lifecycle import expire_runs
from apps.workers.leases import expire_leases
from tests.reliability.queue_model_claims import Claims
from tests.reliability.queue_model_driver import OUTCOMES, PULSE, action, mostly, picks
from tests.reliability.queue_model_terms import LEASE, SECOND, WORKERS, Attempt, Run


class Writes(Claims):
    """The attempts are those that were claimed, live ones most of the time, and tokens of ended ones."""

    # --- what workers write

    @action(when=lambda self: bool(self.model.attempts), weight=5,
        verb=st.sampled_from(["start", "renew", "save", "complete", "complete"]),
        picked=st.lists(picks, min_size=1, max_size=3), is_live=mostly, number=st.integers(0, 3),
    )  # fmt: skip
    def write(self, verb: str, picked: list[int], is_live: bool, number: int) -> None:
        attempts = list(dict.fromkeys(self._attempt(pick, is_live=is_live) for pick in picked))
        if verb == "save":
            self._save(attempts[0], key="ab"[number // 2], data="12"[number % 2])
        elif verb == "renew":
            self._renew(attempts[0].worker if number else WORKERS[0], attempts)
        else:
            getattr(self, f"_{verb}")(attempts)

    def _renew(self, worker: UUID, named: list[Attempt]) -> None:
        attempts = {attempt.run: attempt for attempt in named}
        answers = self.site.renew(worker, list(attempts.values()))
        for run, attempt in attempts.items():
            is_held = attempt.is_live and attempt.worker == worker
            assert answers[run.id] == (not is_held, is_held and run.is_cancel_requested)
            if is_held:
                run.lease_end, attempt.is_confirmed = self.model.now + LEASE, True
            self._saw(f"renew: {'held' if is_held else 'stale'}")

    def _save(self, attempt: Attempt, *, key: str, data: str) -> None:
        run, known = attempt.run, attempt.run.saved.get(key)
        verdict = "stale"
        if attempt.is_live:
            verdict = "saved" if known is None else "repeated" if known[1] == data else "conflict"
        saved = self.site.save(attempt, key, data)
        assert saved.verdict == verdict
        if verdict == "saved":
            assert saved.index == len(run.saved)
            run.saved[key] = (saved.index, data)
            run.progress_attempt = attempt.number
        self._saw(f"save: {verdict}")

    def _complete(self, attempts: list[Attempt]) -> None:
        before = {attempt: attempt.outcome for attempt in attempts}
        answers = self.site.complete(attempts)
        for attempt, (is_stale, outcome) in zip(attempts, answers, strict=True):
            is_done = self.model.complete(attempt)
            assert is_stale == (not is_done)
            if is_stale:
                assert outcome == before[attempt]
            self._saw(f"complete: {'done' if is_done else 'repeated' if outcome == 'completed' else 'stale'}")

    @action(when=lambda self: bool(self.model.attempts), weight=5,
        picked=st.lists(picks, min_size=1, max_size=3), is_live=mostly, outcome=st.sampled_from(OUTCOMES),
        retry_after=st.sampled_from([None, None, 0.0, 7.5]), is_abort=st.sampled_from([False] * 7 + [True]),
    )  # fmt: skip
    def fail(self, picked: list[int], is_live: bool, outcome: str, retry_after: float | None, is_abort: bool) -> None:
        attempts = list(dict.fromkeys(self._attempt(pick, is_live=is_live) for pick in picked))
        answers = self.site.fail(attempts, outcome, retry_after_seconds=retry_after, is_abort=is_abort)
        for attempt, answer in zip(attempts, answers, strict=True):
            was_live = attempt.is_live
            state = self.model.fail(attempt, outcome, retry_after=retry_after, is_abort=is_abort)
            assert (answer.is_stale, answer.state) == (state is None, state or "")
            self._saw(f"fail: {f'{outcome} -> {state}' if was_live else 'repeated' if state else 'stale'}")
            if was_live and state == "retrying":
                self._take_due_time(attempt.run)

    def _take_due_time(self, run: Run) -> None:
        """The jitter is the database's choice, within its range."""
        due_at = self.site.micros(self.site.stored().runs[run.id]["due_at"])
        assert due_at is not None
        assert self.model.delay_range is not None
        low, high = self.model.delay_range
        assert low - 1 <= due_at - self.model.now <= high + 1, f"retry after {due_at - self.model.now} µs"
        run.due_at = due_at

    # --- leases and time

    @action(
        weight=4, seconds=st.sampled_from([0, 0, 1, 4, 11, 61, 130]), has_pulse=mostly,
        tick=st.sampled_from(["promote", "promote", "expire_ended_leases", "expire_waiting_runs"]),
    )  # fmt: skip
    def pass_time(self, seconds: int, has_pulse: bool, tick: str) -> None:
        """A coordinator stamps the pulse all the time, or the database is away as long."""
        until = self.model.now + seconds * SECOND
        while self.model.now < until:
            self.model.now = min(until, self.model.now + PULSE) if has_pulse else until
            self.site.set_clock(self.model.now)
            self._beat()
        getattr(self, f"_{tick}")()

    def _expire_ended_leases(self) -> None:
        expected = self.model.expired()
        assert set(expire_leases()) == {attempt.run.id for attempt in expected}
        for attempt in expected:
            outcome = "lost" if attempt.is_confirmed else "released"
            state = self.model.fail(attempt, outcome, retry_after=None, is_abort=False)
            self._saw(f"expire: {outcome} -> {state}")

    def _expire_waiting_runs(self) -> None:
        late = [
            run for run in self.model.runs.values()
            if run.state in {"pending", "delayed"} and not run.attempts
            and run.expires_at is not None and run.expires_at <= self.model.now
        ]  # fmt: skip
        assert set(expire_runs()) == {run.id for run in late}
        for run in late:
            run.state, run.due_at = "expired", None
            self._saw("expired")
