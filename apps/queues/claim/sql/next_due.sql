-- Purpose: how long until the next delayed or retrying run is due, so that it starts on time and not at the next sweep.
-- Parameters: none. Returns: seconds (null: none is). Locks: nothing. Relies on: run_promote_idx.
SELECT extract(epoch FROM (
    SELECT due_at FROM runs_run WHERE state IN ('delayed', 'retrying', 'waiting') ORDER BY due_at LIMIT 1
) - trigger_now())::float8 AS seconds
