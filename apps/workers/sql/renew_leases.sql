-- Purpose: renew the leases that a worker says it holds, in one statement per heartbeat.
-- Parameters: worker_id uuid, run_ids uuid[], tokens bytea[], lease_seconds int.
-- Returns: run_id, is_stale, is_cancel_requested for each lease named. A worker may name a run's ended attempt beside
--   its live one, so the answer is joined by the token, too.
-- Locks: the runs, in id order. Relies on: runs_run_pkey.
-- The lock is taken inside LATERAL, item by item: as a plain join the planner may compare every running run, or every run
-- there is, with every item.
WITH input AS (
    SELECT DISTINCT i.run_id, i.token FROM unnest(%(run_ids)s::uuid[], %(tokens)s::bytea[]) AS i (run_id, token)
), ok AS MATERIALIZED (
    SELECT r.id, i.token, r.attempt_count, r.is_cancel_requested
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE AND r.worker_id = %(worker_id)s
        FOR NO KEY UPDATE
    ) AS r
), renewed AS (
    UPDATE runs_run r SET lease_end = trigger_now() + make_interval(secs => %(lease_seconds)s)
    FROM ok WHERE r.id = ok.id
), confirmed AS (
    UPDATE runs_attempt a SET is_confirmed = true
    FROM ok WHERE a.run_id = ok.id AND a.number = ok.attempt_count AND NOT a.is_confirmed
)
SELECT i.run_id, ok.id IS NULL AS is_stale, coalesce(ok.is_cancel_requested, false) AS is_cancel_requested
FROM input i LEFT JOIN ok ON ok.id = i.run_id AND ok.token = i.token
