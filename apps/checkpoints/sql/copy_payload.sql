-- Purpose: give a replay the payload of its original, byte for byte.
-- Parameters: original_id uuid, replay_id uuid. Returns: nothing. Locks: nothing. Relies on: runs_value_pkey.
INSERT INTO runs_value (run_id, payload)
SELECT %(replay_id)s, payload FROM runs_value WHERE run_id = %(original_id)s
