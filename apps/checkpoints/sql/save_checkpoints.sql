-- Purpose: save checkpoints of many runs in one statement (group commit), each under its attempt token.
-- Parameters: arrays of one length: run_ids uuid[], tokens bytea[], keys text[], kinds text[], datas text[] (JSON text),
--   carrieds text[] (JSON text or null), binds text[] (JSON list of names), hashes bytea[], sizes int[] (bytes),
--   codecs int[], durations float[] (seconds or null); count_limit int (checkpoints and steps per run),
--   bytes_limit bigint (of all that a run has stored).
-- Returns: ord (position from 1), verdict: saved | repeated (same key, same content) | conflict | stale | limit
--   (too many) | full (too many bytes) | retry (others hold the run, or a concurrent statement took the key or the
--   index: run it again), index.
-- Locks: the runs, in id order, before anything is written; skips what others hold.
-- Relies on: runs_run_pkey, checkpoint_key_is_unique.
-- Raises division_by_zero, so that the items are sent again one by one, if a concurrent statement took the index of an
-- item but not of a later item of the same run: the later item's total would lack what the other statement saved.
-- The lock is taken inside LATERAL, item by item: with a plain join the planner may compare every running run, or every
-- run, with every item.
WITH input AS (
    SELECT * FROM unnest(
        %(run_ids)s::uuid[], %(tokens)s::bytea[], %(keys)s::text[], %(kinds)s::text[], %(datas)s::text[],
        %(carrieds)s::text[], %(binds)s::text[], %(hashes)s::bytea[], %(sizes)s::int[], %(codecs)s::int[],
        %(durations)s::float[]
    ) WITH ORDINALITY
        AS i (run_id, token, key, kind, data, carried, binds, content_hash, size_bytes, codec, duration_seconds, ord)
), ok AS MATERIALIZED (
    SELECT i.*, r.attempt_count, r.progress_attempt
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), existing AS (
    SELECT ok.ord, c.index, c.content_hash = ok.content_hash AS is_same
    FROM ok JOIN checkpoints_checkpoint c ON c.run_id = ok.run_id AND c.key = ok.key
), fresh AS (
    -- Of two items with the same key the second is told to retry, and then finds the first.
    SELECT ok.*, row_number() OVER (PARTITION BY ok.run_id, ok.key ORDER BY ok.ord) = 1 AS is_first
    FROM ok LEFT JOIN existing e USING (ord)
    WHERE e.ord IS NULL
), last AS MATERIALIZED (
    SELECT f.run_id, c.index,
           coalesce(c.stored_bytes,
                    (SELECT sum(o.size_bytes) FROM checkpoints_checkpoint o WHERE o.run_id = f.run_id)) AS stored_bytes
    FROM (SELECT DISTINCT run_id FROM fresh) AS f
    CROSS JOIN LATERAL (
        SELECT index, stored_bytes FROM checkpoints_checkpoint c WHERE c.run_id = f.run_id ORDER BY c.index DESC LIMIT 1
    ) AS c
), numbered AS (
    SELECT f.*,
           coalesce(last.index + 1, 0) + row_number() OVER of_run - 1 AS index,
           coalesce(last.stored_bytes, 0) + sum(f.size_bytes) OVER of_run AS stored_bytes
    FROM fresh f LEFT JOIN last USING (run_id)
    WHERE f.is_first
    WINDOW of_run AS (PARTITION BY f.run_id ORDER BY f.ord)
), allowed AS (
    SELECT * FROM numbered WHERE index < %(count_limit)s AND stored_bytes <= %(bytes_limit)s
), inserted AS (
    INSERT INTO checkpoints_checkpoint
        (run_id, key, kind, index, data, carried, binds, content_hash, size_bytes, stored_bytes, codec, duration_seconds,
         is_edited, attempt, created_at)
    SELECT n.run_id, n.key, n.kind, n.index, n.data::json, n.carried::json,
           ARRAY(SELECT json_array_elements_text(n.binds::json)), n.content_hash, n.size_bytes,
           n.stored_bytes, n.codec, n.duration_seconds, false, n.attempt_count, trigger_now()
    FROM allowed n
    ORDER BY n.run_id, n.index
    ON CONFLICT DO NOTHING
    RETURNING run_id, key, index
), progressed AS (
    UPDATE runs_run r
    SET progress_attempt = n.attempt_count
    FROM (SELECT DISTINCT run_id, attempt_count FROM allowed WHERE progress_attempt <> attempt_count) n
    WHERE r.id = n.run_id
)
SELECT i.ord,
       CASE WHEN ok.ord IS NULL AND EXISTS (
                SELECT FROM runs_run r WHERE r.id = i.run_id AND r.token = i.token AND r.state = 'running') THEN 'retry'
            WHEN ok.ord IS NULL THEN 'stale'
            WHEN e.is_same THEN 'repeated'
            WHEN e.ord IS NOT NULL THEN 'conflict'
            WHEN n.is_saved AND n.is_torn THEN (1 / (n.index - n.index))::text
            WHEN n.is_saved THEN 'saved'
            WHEN n.index >= %(count_limit)s THEN 'limit'
            WHEN n.stored_bytes > %(bytes_limit)s THEN 'full'
            ELSE 'retry'
       END AS verdict,
       coalesce(e.index, CASE WHEN n.is_saved THEN n.index END) AS index
FROM input i
LEFT JOIN ok ON ok.ord = i.ord
LEFT JOIN existing e ON e.ord = i.ord
LEFT JOIN (
    -- As a sub-select it is hashed; as a join it would compare every row with every other.
    SELECT s.*, NOT bool_and(s.is_saved) OVER (PARTITION BY s.run_id ORDER BY s.index) AS is_torn
    FROM (
        SELECT ord, run_id, index, stored_bytes, (run_id, index) IN (SELECT run_id, index FROM inserted) AS is_saved
        FROM numbered
    ) AS s
) AS n ON n.ord = i.ord
ORDER BY i.ord
