-- Purpose: find the running attempts of these workers that must be canceled.
-- Parameters: worker_ids uuid[]. Returns: run_id, worker_id. Locks: nothing. Relies on: run_of_worker_idx.
SELECT id AS run_id, worker_id FROM runs_run
WHERE state = 'running' AND is_cancel_requested AND worker_id = ANY(%(worker_ids)s)
