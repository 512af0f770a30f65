-- Purpose: leases could not be renewed although their workers are alive: every worker gets one full lease period to renew in,
--   as after an outage.
-- Parameters: none. Returns: id. Locks: the one row.
UPDATE workers_pulse SET resumed_at = trigger_now() RETURNING id
