-- Purpose: renew the leases that a worker reports, in one statement per heartbeat.
-- Parameters: worker_id uuid, run_ids uuid[], tokens bytea[], lease_seconds int.
-- Returns: run_id, is_stale, is_held (another transaction holds the run: it is the worker's, but its lease could not be
--   renewed), is_cancel_requested for each lease named. A worker may name a run's ended attempt along with its live one, so the
--   answer is joined by the token too.
-- Locks: the runs, in id order, and the attempts that it confirms; skips held rows, so that one held row does not keep other
--   leases from being renewed. Relies on: runs_run_pkey, attempt_number_is_unique.
-- The lock is taken inside LATERAL, item by item: for a plain join the planner may compare every running run, or every run in
-- the table, with every item.
WITH input AS (
    SELECT DISTINCT i.run_id, i.token FROM unnest(%(run_ids)s::uuid[], %(tokens)s::bytea[]) AS i (run_id, token)
), known AS MATERIALIZED (
    SELECT r.id, i.token, r.attempt_count, r.is_cancel_requested
    FROM input i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE AND r.worker_id = %(worker_id)s
        LIMIT 1
    ) AS r
), ok AS MATERIALIZED (
    SELECT r.id, i.token, r.is_cancel_requested
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE AND r.worker_id = %(worker_id)s
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), renewed AS (
    UPDATE runs_run r SET lease_end = trigger_now() + make_interval(secs => %(lease_seconds)s)
    FROM ok WHERE r.id = ok.id
), unconfirmed AS MATERIALIZED (
    -- Held runs too: what has begun must never be mistaken for an unheard claim.
    SELECT a.id FROM known k
    CROSS JOIN LATERAL (
        SELECT a.id FROM runs_attempt a
        WHERE a.run_id = k.id AND a.number = k.attempt_count AND NOT a.is_confirmed
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
), confirmed AS (
    UPDATE runs_attempt a SET is_confirmed = true FROM unconfirmed u WHERE a.id = u.id
)
SELECT i.run_id,
       ok.id IS NULL AND k.id IS NULL AS is_stale,
       ok.id IS NULL AND k.id IS NOT NULL AS is_held,
       coalesce(ok.is_cancel_requested, k.is_cancel_requested, false) AS is_cancel_requested
FROM input i
LEFT JOIN ok ON ok.id = i.run_id AND ok.token = i.token
LEFT JOIN known k ON k.id = i.run_id AND k.token = i.token
