-- Purpose: record that the processes of attempts began, and where they resumed.
-- Parameters: arrays of one length: run_ids uuid[], tokens bytea[], containers text[], start_kinds text[],
--   resumed_froms text[] (null: from the start), running_seconds float8[] (how long ago it began).
-- Returns: ord (position from 1), is_stale, is_held (others hold the run, and nothing was written for it).
-- Locks: the runs, in id order; skips what others hold. Relies on: runs_run_pkey, attempt_number_is_unique.
-- The lock is taken inside LATERAL, item by item: with a plain join the planner may compare every running run, or every
-- run, with every item.
WITH input AS (
    SELECT * FROM unnest(
        %(run_ids)s::uuid[], %(tokens)s::bytea[], %(containers)s::text[], %(start_kinds)s::text[],
        %(resumed_froms)s::text[], %(running_seconds)s::float8[]
    ) WITH ORDINALITY AS i (run_id, token, container, start_kind, resumed_from, running_seconds, ord)
), ok AS MATERIALIZED (
    SELECT i.*, r.attempt_count
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), started AS (
    UPDATE runs_attempt a
    SET container = ok.container,
        start_kind = ok.start_kind,
        resumed_from = ok.resumed_from,
        is_confirmed = true,
        started_at = coalesce(a.started_at, trigger_now() - make_interval(secs => ok.running_seconds))
    FROM ok WHERE a.run_id = ok.run_id AND a.number = ok.attempt_count
)
SELECT i.ord,
       ok.run_id IS NULL AS is_stale,
       CASE WHEN ok.run_id IS NULL THEN EXISTS (
           SELECT FROM runs_run r WHERE r.id = i.run_id AND r.token = i.token AND r.state = 'running')
       ELSE false END AS is_held
FROM input i LEFT JOIN ok USING (ord)
ORDER BY i.ord
