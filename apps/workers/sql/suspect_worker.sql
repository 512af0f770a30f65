-- Purpose: note that a worker's connection broke.
-- Parameters: worker_id uuid. Returns: nothing.
UPDATE workers_worker SET suspected_at = trigger_now() WHERE id = %(worker_id)s AND stopped_at IS NULL
