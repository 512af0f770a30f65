-- Purpose: make delayed and retrying runs pending whose time has come.
-- Parameters: limit int. Returns: id. Locks: the runs it moves; skips those that others hold.
-- Relies on: run_promote_idx. The candidates are materialised, because a nested loop would run the LIMIT per row. The time
--   is read in a sub-select: a volatile function is no index condition, and every run that is not due would be visited.
WITH candidate AS MATERIALIZED (
    SELECT id FROM runs_run
    WHERE state IN ('delayed', 'retrying', 'waiting') AND due_at <= (SELECT trigger_now())
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE runs_run r
SET state = 'pending', due_at = NULL, version = version + 1
FROM candidate c
WHERE r.id = c.id
RETURNING r.id
