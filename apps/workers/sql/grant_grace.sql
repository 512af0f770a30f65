-- Purpose: leases could not be renewed though their workers are there: every worker gets one whole lease to renew in, as after
--   an outage.
-- Parameters: none. Returns: id. Locks: the one row.
UPDATE workers_pulse SET resumed_at = trigger_now() RETURNING id
