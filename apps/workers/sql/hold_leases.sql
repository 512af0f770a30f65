-- Purpose: a worker has named its leases, and some could not be renewed because their rows are held: none of its leases ends
--   before the time that a renewal would have given it.
-- Parameters: worker_id uuid, lease_seconds int. Returns: id (no row: the worker's row is held, or unknown).
-- Locks: the worker; skips it if held. Relies on: workers_worker_pkey.
WITH found AS MATERIALIZED (
    SELECT id FROM workers_worker WHERE id = %(worker_id)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE workers_worker w
SET leases_until = trigger_now() + make_interval(secs => %(lease_seconds)s),
    last_seen_at = trigger_now(),
    suspected_at = NULL
FROM found f WHERE w.id = f.id
RETURNING w.id
