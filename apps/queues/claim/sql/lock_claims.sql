-- Purpose: take the claim lane, so that the next statement's counts are read after the lock is held.
-- In one statement with the claim, two sessions exceed a limit of 1: both would count before either has written.
-- Parameters: none. Locks: advisory lock 8000001 until the transaction ends.
SELECT pg_advisory_xact_lock(8000001)
