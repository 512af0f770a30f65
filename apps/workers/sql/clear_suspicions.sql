-- Purpose: end the suspicion of workers whose poll is held open.
-- Parameters: worker_ids uuid[]. Returns: id. Locks: the workers, in id order; skips held rows.
-- Relies on: workers_worker_pkey.
WITH found AS MATERIALIZED (
    SELECT id FROM workers_worker
    WHERE id = ANY(%(worker_ids)s) AND suspected_at IS NOT NULL
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE workers_worker w SET suspected_at = NULL, last_seen_at = trigger_now() FROM found f WHERE w.id = f.id
RETURNING w.id
