"""Writes finishes: completions in one statement, like every kind; other ends are decided in Python, in threads."""

import asyncio
from collections.abc import Sequence

from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.protocol import FINISHES, Finish, Result
from apps.runs.lifecycle import COMPLETED, complete_attempts
from apps.runs.states import Outcome
from apps.storage.values import ValueRefused, check_value
from trigger_site.coordinator.database import Connection, Database
from trigger_site.coordinator.kinds.base import Kind, Writer, result_of
from trigger_site.coordinator.kinds.failures import Failures

DONE = Result(200, state=COMPLETED.state)
SUCCESS = Outcome.COMPLETED.value
OUTCOMES = frozenset(outcome.value for outcome in Outcome)


class FinishWriter:
    """Writes completions in batches on the loop, failures by their verb in a thread."""

    def __init__(self, completions: Writer[Finish], failures: Failures) -> None:
        self._completions = completions
        self._failures = failures

    async def submit(self, items: Sequence[Finish]) -> list[Result]:
        """Returns one result per item, like every writer."""
        completed = [item for item in items if item.outcome == SUCCESS]
        if len(completed) == len(items):
            return await self._completions.submit(completed)
        failed = [item for item in items if item.outcome != SUCCESS]
        done, ended = await asyncio.gather(self._completions.submit(completed), self._failures.submit(failed))
        results = {True: iter(done), False: iter(ended)}
        return [next(results[item.outcome == SUCCESS]) for item in items]


class FinishKind(Kind[Finish]):
    def open(self, database: Database) -> Writer[Finish]:
        return FinishWriter(super().open(database), Failures(database.patience_seconds))


def refuse_unstorable(item: Finish) -> Result | None:
    """Answers 413 for an output that is too large, 422 for one that cannot be stored and for an unknown outcome."""
    if item.output:
        try:
            check_value(item.output)
        except ValueRefused as error:
            return Result(413 if error.code == "too_large" else 422, error.code, f"The output {error.message}.")
    if item.outcome != SUCCESS and item.outcome not in OUTCOMES:
        return Result(422, "invalid", f"There is no outcome {item.outcome!r}.")
    return None


async def write_completions(connection: Connection, items: Sequence[Finish], *, waits: bool) -> list[Result | None]:
    answers = await complete_attempts(connection, items, waits=waits)
    announce_now(RUNS, (item.run_id for item in items))
    return [DONE if answer is COMPLETED else result_of(answer) for answer in answers]


FINISH = FinishKind(FINISHES, write_completions, refuse_unstorable)
