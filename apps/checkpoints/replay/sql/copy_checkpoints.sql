-- Purpose: bring what an earlier run saved into its replay, up to and including one index, with a person's edits.
-- Parameters: original_id uuid, replay_id uuid, last_index int; edits as arrays of one length: keys text[],
--   datas text[] and carrieds text[] (JSON text; null: none carried), binds text[] (JSON list of names), hashes bytea[],
--   sizes int[] (bytes); codec int (the version that wrote the edits).
-- Returns: nothing. Locks: nothing of the original. Relies on: checkpoint_index_is_unique.
-- What is not edited stays inside the database, so it is the same bytes; attempt 0 says that no attempt of the replay
-- saved it.
WITH edit AS (
    SELECT * FROM unnest(
        %(keys)s::text[], %(datas)s::text[], %(carrieds)s::text[], %(binds)s::text[], %(hashes)s::bytea[], %(sizes)s::int[]
    ) AS e (key, data, carried, binds, content_hash, size_bytes)
)
INSERT INTO checkpoints_checkpoint
    (run_id, key, kind, index, data, carried, binds, content_hash, size_bytes, stored_bytes, codec, duration_seconds,
     is_edited, attempt, created_at)
SELECT %(replay_id)s, c.key, c.kind, c.index,
       CASE WHEN e.key IS NULL THEN c.data ELSE e.data::json END,
       CASE WHEN e.key IS NULL THEN c.carried ELSE e.carried::json END,
       CASE WHEN e.key IS NULL THEN c.binds ELSE ARRAY(SELECT json_array_elements_text(e.binds::json)) END,
       CASE WHEN e.key IS NULL THEN c.content_hash ELSE e.content_hash END,
       CASE WHEN e.key IS NULL THEN c.size_bytes ELSE e.size_bytes END,
       sum(CASE WHEN e.key IS NULL THEN c.size_bytes ELSE e.size_bytes END) OVER (ORDER BY c.index),
       CASE WHEN e.key IS NULL THEN c.codec ELSE %(codec)s END,
       c.duration_seconds, c.is_edited OR e.key IS NOT NULL, 0, c.created_at
FROM checkpoints_checkpoint c LEFT JOIN edit e ON e.key = c.key
WHERE c.run_id = %(original_id)s AND c.index <= %(last_index)s
ORDER BY c.index
