-- Purpose: note a sign of life, which ends a suspicion; or the last one of a worker that stops on purpose.
-- Parameters: worker_id uuid, is_stopping bool. Returns: has_changed (a suspicion ended, or the worker stopped or
--   came back; no row: unknown worker).
-- Locks: the worker; if it is held nothing is noted. Relies on: workers_worker_pkey.
WITH found AS MATERIALIZED (
    SELECT id, suspected_at IS NOT NULL OR %(is_stopping)s OR stopped_at IS NOT NULL AS has_changed
    FROM workers_worker WHERE id = %(worker_id)s FOR NO KEY UPDATE SKIP LOCKED
), touched AS (
    UPDATE workers_worker w
    SET last_seen_at = trigger_now(),
        suspected_at = NULL,
        stopped_at = CASE WHEN %(is_stopping)s THEN trigger_now() END
    FROM found f WHERE w.id = f.id
)
SELECT coalesce(f.has_changed, false) AS has_changed
FROM workers_worker w LEFT JOIN found f ON f.id = w.id
WHERE w.id = %(worker_id)s
