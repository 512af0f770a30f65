-- Purpose: note a sign of life, which ends a suspicion; or the last one of a worker that stops on purpose.
-- Parameters: worker_id uuid, is_stopping bool. Returns: id (no row: unknown worker).
UPDATE workers_worker
SET last_seen_at = trigger_now(),
    suspected_at = NULL,
    stopped_at = CASE WHEN %(is_stopping)s THEN trigger_now() END
WHERE id = %(worker_id)s
RETURNING id
