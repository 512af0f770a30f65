-- Purpose: note that a worker's connection broke.
-- Parameters: worker_id uuid. Returns: nothing. Locks: the worker; if it is held nothing is noted, and its leases expire on
--   their own.
WITH found AS MATERIALIZED (
    SELECT id FROM workers_worker WHERE id = %(worker_id)s AND stopped_at IS NULL FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE workers_worker w SET suspected_at = trigger_now() FROM found f WHERE w.id = f.id
