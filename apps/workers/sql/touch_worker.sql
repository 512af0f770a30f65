-- Purpose: note a sign of life, which ends a suspicion; or the last one of a worker that stops on purpose.
-- Parameters: worker_id uuid, is_stopping bool. Returns: id (no row: unknown worker).
-- Locks: the worker; if it is held nothing is noted. Relies on: workers_worker_pkey.
WITH found AS MATERIALIZED (
    SELECT id FROM workers_worker WHERE id = %(worker_id)s FOR NO KEY UPDATE SKIP LOCKED
), touched AS (
    UPDATE workers_worker w
    SET last_seen_at = trigger_now(),
        suspected_at = NULL,
        stopped_at = CASE WHEN %(is_stopping)s THEN trigger_now() END
    FROM found f WHERE w.id = f.id
)
SELECT id FROM workers_worker WHERE id = %(worker_id)s
