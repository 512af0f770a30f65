"""Checkers of limits that know nothing of the claim: counts at every commit, and starts in every window of time.

The database itself counts: a trigger that is put off to the commit of whoever made a run running, with commits one
after the other. It reads the limits that stand then, which are those that stood when the claim began, because who
changes them waits for the claim. Owns no limit and makes no claim.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from django.db import connection

INSTALL = """
CREATE TABLE limit_watch (
    scope text, name text, concurrency_key text, allowed int, running int, id bigserial);

CREATE FUNCTION watch_limits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    queue_limit int := (SELECT max_concurrency FROM queues_queue WHERE name = NEW.queue);
    task_limit int := (SELECT max_concurrency_total FROM runs_taskcontrol WHERE task_id = NEW.task_id);
    key_limit int := (SELECT max_concurrency FROM runs_taskcontrol WHERE task_id = NEW.task_id);
    declared jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(8999999);
    SELECT v.options INTO declared FROM runs_task t JOIN runs_taskversion v USING (deployment_id)
    WHERE t.id = NEW.task_id AND v.task_id = NEW.task_id;
    task_limit := coalesce(task_limit, (declared ->> 'max_concurrency_total')::int);
    key_limit := coalesce(key_limit, (declared ->> 'max_concurrency')::int);
    INSERT INTO limit_watch (scope, name, concurrency_key, allowed, running)
    SELECT 'queue', NEW.queue, '', queue_limit, count(*) FROM runs_run
    WHERE state = 'running' AND queue = NEW.queue AND queue_limit IS NOT NULL;
    INSERT INTO limit_watch (scope, name, concurrency_key, allowed, running)
    SELECT 'task', NEW.task_id, '', task_limit, count(*) FROM runs_run
    WHERE state = 'running' AND task_id = NEW.task_id AND task_limit IS NOT NULL;
    INSERT INTO limit_watch (scope, name, concurrency_key, allowed, running)
    SELECT 'key', NEW.task_id, NEW.concurrency_key, key_limit, count(*) FROM runs_run
    WHERE state = 'running' AND task_id = NEW.task_id AND concurrency_key = NEW.concurrency_key
      AND key_limit IS NOT NULL;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER watch_limits AFTER UPDATE ON runs_run DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION watch_limits();
"""

MICROSECOND = timedelta(microseconds=1)
REMOVE = "DROP TRIGGER watch_limits ON runs_run; DROP FUNCTION watch_limits(); DROP TABLE limit_watch"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one limit at the commits of claims; `full_count`: how often it was reached exactly."""

    scope: str
    name: str
    concurrency_key: str
    commit_count: int
    full_count: int
    worst_excess: int
    """Running runs less the limit, at the worst commit; above 0 it was exceeded."""


class Watch:
    """What the trigger has written down; rows without a limit count nothing and are left out."""

    def seen(self) -> list[Seen]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT scope, name, concurrency_key, count(*), count(*) FILTER (WHERE running = allowed), "
                "max(running - allowed) FROM limit_watch WHERE allowed IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            )
            return [Seen(*row) for row in cursor.fetchall()]

    def exceeded(self) -> list[Seen]:
        return [each for each in self.seen() if each.worst_excess > 0]

    def clear(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE limit_watch")


@contextmanager
def watched_limits() -> Iterator[Watch]:
    with connection.cursor() as cursor:
        cursor.execute(INSTALL)
    try:
        yield Watch()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(REMOVE)


def excess_of_starts(starts: Iterable[datetime], *, interval_micros: Fraction, burst: int) -> float:
    """By how many starts the fullest window is over `burst + length / interval`; not above 0 where the rate held.

    Every pair of starts bounds a window: start j and an earlier i are over by (j - i + 1) - burst - (t_j - t_i) /
    interval. With g = number * interval - t that is (g_j - g_i) / interval + 1 - burst, so per j only the smallest g_i
    counts. In exact fractions of microseconds: a sum of floating point numbers would be over by their rounding.
    """
    times = sorted(starts)
    worst = least = Fraction(0)
    for number, time in enumerate(times):
        turn = number * interval_micros - (time - times[0]) // MICROSECOND
        least = min(least, turn)
        worst = max(worst, turn - least)
    return float(worst / interval_micros + 1 - burst)
