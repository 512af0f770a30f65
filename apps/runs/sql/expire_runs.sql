-- Purpose: end runs that have not started within their time to live.
-- Parameters: limit int. Returns: id. Locks: the runs, in id order; leaves those that others hold to the next call.
-- Relies on: run_expiry_idx.
-- The time is read in a sub-select: a volatile function cannot be an index condition. The ids are arrays, because the
-- planner assumes that a CTE is as large as its LIMIT and would join it with the whole table.
WITH candidate AS MATERIALIZED (
    SELECT id FROM runs_run
    WHERE state IN ('delayed', 'pending') AND expires_at <= (SELECT trigger_now()) AND attempt_count = 0
    ORDER BY expires_at
    LIMIT %(limit)s
), locked AS MATERIALIZED (
    SELECT r.id FROM runs_run r
    WHERE r.id = ANY(ARRAY(SELECT id FROM candidate))
      AND (r.state IN ('delayed', 'pending')) IS TRUE AND r.attempt_count = 0
    ORDER BY r.id
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE runs_run r
SET state = 'expired', due_at = NULL, finished_at = trigger_now(), version = version + 1
WHERE r.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING r.id
