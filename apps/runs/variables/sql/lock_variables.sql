-- Purpose: let one change of variables happen at a time, so that their limits hold.
-- Parameters: none. Locks: advisory lock 8000003 until the transaction ends.
SELECT pg_advisory_xact_lock(8000003)
