"""What others can hold, and the writes that meet it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from apps import protocol as wire
from tests.coordinator_harness import Coordinator, checkpoint_of, finish_of, log_of, start_of

OF_RUN = {
    "run": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR UPDATE",
    "attempt": "SELECT 1 FROM runs_attempt WHERE run_id = %(run)s FOR UPDATE",
    "values": "SELECT 1 FROM runs_value WHERE run_id = %(run)s FOR UPDATE",
    "shared": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR SHARE",
}
WRITES: dict[str, Callable[[Coordinator, wire.Claim, wire.Claim], list[wire.Result]]] = {
    "start": lambda at, one, two: at.starts(start_of(one), start_of(two)),
    "save": lambda at, one, two: at.save(checkpoint_of(one), checkpoint_of(two)),
    "log": lambda at, one, two: at.log(log_of(one), log_of(two)),
    "complete": lambda at, one, two: at.finish(finish_of(one), finish_of(two)),
    "fail": lambda at, one, two: at.finish(finish_of(one, "failed"), finish_of(two, "failed")),
    "both": lambda at, one, two: at.finish(finish_of(one), finish_of(two, "failed")),
}


@contextmanager
def holding(url: str, text: str, **parameters: object) -> Iterator[None]:
    """An idle session that holds what the statement locks until the block ends."""
    with psycopg.connect(url) as session:
        session.execute(text, parameters)
        yield
        session.rollback()


def statuses(results: list[wire.Result]) -> list[int]:
    return [result.status for result in results]


def lease_of(claim: wire.Claim) -> wire.Lease:
    return wire.Lease(claim.run_id, claim.token)
