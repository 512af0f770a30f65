-- Purpose: store notes of running attempts, for the kind of write that `test_new_kind.py` adds.
-- Parameters: arrays of one length: run_ids uuid[], tokens bytea[], texts text[].
-- Returns: ord (position from 1), is_stale, is_held (others hold the run, and nothing was written for it).
-- Locks: the runs, in id order; leaves out what others hold.
WITH input AS (
    SELECT * FROM unnest(%(run_ids)s::uuid[], %(tokens)s::bytea[], %(texts)s::text[])
        WITH ORDINALITY AS i (run_id, token, text, ord)
), ok AS MATERIALIZED (
    SELECT i.*
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND r.state = 'running'
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), saved AS (
    INSERT INTO kind_note (run_id, text) SELECT run_id, text FROM ok ON CONFLICT DO NOTHING
)
SELECT i.ord,
       ok.ord IS NULL AS is_stale,
       ok.ord IS NULL AND EXISTS (
           SELECT FROM runs_run r WHERE r.id = i.run_id AND r.token = i.token AND r.state = 'running') AS is_held
FROM input i LEFT JOIN ok USING (ord)
ORDER BY i.ord
