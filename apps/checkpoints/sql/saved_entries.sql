-- Purpose: what runs have saved, without the data: replays and requeues are judged by it.
-- Parameters: run_ids uuid[]. Returns: run_id, key, kind, index, binds, carries (names of the carried values), size_bytes,
--   is_edited, attempt; by run, in commit order. Locks: nothing. Relies on: checkpoint_index_is_unique.
-- One statement, so that a checkpoint that a running original saves meanwhile is there in full or not at all.
SELECT run_id, key, kind, index, binds,
       CASE WHEN json_typeof(carried) = 'object' THEN ARRAY(SELECT json_object_keys(carried)) ELSE ARRAY[]::text[] END
           AS carries,
       size_bytes, is_edited, attempt
FROM checkpoints_checkpoint
WHERE run_id = ANY(%(run_ids)s::uuid[])
ORDER BY run_id, index
