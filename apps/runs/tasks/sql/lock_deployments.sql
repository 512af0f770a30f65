-- Purpose: let one deployment register at a time, so that version numbers and the owners of task ids are read after
--   the one before has committed.
-- Parameters: none. Locks: advisory lock 8000002 until the transaction ends.
SELECT pg_advisory_xact_lock(8000002)
