-- Purpose: a requeued run keeps its last error, but no longer the reason why no attempt would follow.
-- Parameters: run_id uuid. Returns: nothing. Locks: the run's value. Relies on: runs_value_pkey.
UPDATE runs_value SET error = error - 'reason' WHERE run_id = %(run_id)s AND error ? 'reason'
