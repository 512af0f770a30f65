-- Purpose: a worker has named its leases and some of them could not be renewed, because others hold what would be written:
--   none of its leases ends before the time that a renewal would have given it.
-- Parameters: worker_id uuid, lease_seconds int. Returns: id (no row: others hold the worker's row, or it is unknown).
-- Locks: the worker; leaves it out where others hold it. Relies on: workers_worker_pkey.
WITH found AS MATERIALIZED (
    SELECT id FROM workers_worker WHERE id = %(worker_id)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE workers_worker w
SET leases_until = trigger_now() + make_interval(secs => %(lease_seconds)s),
    last_seen_at = trigger_now(),
    suspected_at = NULL
FROM found f WHERE w.id = f.id
RETURNING w.id
