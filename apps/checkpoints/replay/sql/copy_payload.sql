-- Purpose: give a replay the payload of its original, byte for byte.
-- Parameters: original_id uuid, replay_id uuid. Returns: nothing. Locks: nothing. Relies on: runs_value_pkey.
INSERT INTO runs_value (run_id, payload, metadata, traceparent, note)
SELECT %(replay_id)s, payload, metadata, '', '' FROM runs_value WHERE run_id = %(original_id)s
