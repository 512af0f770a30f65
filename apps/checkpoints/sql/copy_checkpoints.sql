-- Purpose: bring checkpoints of an earlier run into its replay, up to and including one index.
-- Parameters: original_id uuid, replay_id uuid, last_index int.
-- Returns: nothing. Locks: nothing of the original. Relies on: checkpoint_index_is_unique.
-- The values stay inside the database, so they are the same bytes; attempt 0 says that no attempt of the replay saved
-- them.
INSERT INTO checkpoints_checkpoint
    (run_id, key, index, data, carried, binds, content_hash, size_bytes, attempt, created_at)
SELECT %(replay_id)s, key, index, data, carried, binds, content_hash, size_bytes, 0, created_at
FROM checkpoints_checkpoint
WHERE run_id = %(original_id)s AND index <= %(last_index)s
ORDER BY index
