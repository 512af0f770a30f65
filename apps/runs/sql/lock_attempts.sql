-- Purpose: before attempts are ended, lock their runs and read what decides the next move.
-- Parameters: arrays of one length: run_ids uuid[], tokens bytea[], are_failures bool[] (ends that count against their task).
-- Returns: is_held (others hold the run, and all else is unknown; or, for a failure, the control of its task), run_id,
--   task_id, token, is_live (the token is the run's current one), outcome and answer (JSON text) of the attempt with that
--   token, max_attempts, is_cancel_requested, options (JSON text) of the task in the attempt's deployment, and the counts
--   of earlier attempts: budget_count, kill_count (since the last new checkpoint), start_failure_count (in a row); each
--   restarts when a person requeues the run (budget_base).
-- Locks: the runs, in id order, then the controls of the tasks that have failed, in order of id; skips what others hold.
--   Relies on: runs_run_pkey, attempt_number_is_unique.
WITH input AS (
    SELECT i.run_id, i.token, bool_or(i.is_failure) AS is_failure
    FROM unnest(%(run_ids)s::uuid[], %(tokens)s::bytea[], %(are_failures)s::bool[]) AS i (run_id, token, is_failure)
    GROUP BY i.run_id, i.token
), locked AS MATERIALIZED (
    SELECT r.*, i.token AS asked_token, i.is_failure
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (SELECT * FROM runs_run r WHERE r.id = i.run_id FOR NO KEY UPDATE SKIP LOCKED) AS r
), failing AS MATERIALIZED (
    SELECT DISTINCT task_id FROM locked WHERE is_failure
), control AS MATERIALIZED (
    SELECT task_id FROM runs_taskcontrol
    WHERE task_id IN (SELECT task_id FROM failing)
    ORDER BY task_id
    FOR NO KEY UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT task_id FROM runs_taskcontrol WHERE task_id IN (SELECT task_id FROM failing)
    EXCEPT SELECT task_id FROM control
)
SELECT r.is_failure AND r.task_id IN (SELECT task_id FROM held) AS is_held,
       r.id AS run_id,
       r.task_id,
       r.asked_token AS token,
       r.state = 'running' AND r.token = r.asked_token AS is_live,
       a.outcome,
       a.answer::text AS answer,
       r.max_attempts,
       r.is_cancel_requested,
       v.options::text AS options,
       counts.budget_count,
       counts.kill_count,
       counts.start_failure_count
FROM locked r
CROSS JOIN LATERAL (
    -- With the LIMIT it stays one look-up per run: with a plain join every attempt may be read.
    SELECT * FROM runs_attempt a WHERE a.run_id = r.id AND a.token = r.asked_token LIMIT 1
) AS a
LEFT JOIN runs_taskversion v ON v.deployment_id = a.deployment_id AND v.task_id = r.task_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (
               WHERE e.outcome IN ('failed', 'timed_out', 'out_of_memory', 'crashed') AND e.number > r.budget_base
           ) AS budget_count,
           count(*) FILTER (
               WHERE e.outcome IN ('crashed', 'lost') AND e.number >= r.progress_attempt AND e.number > r.budget_base
           ) AS kill_count,
           count(*) FILTER (
               WHERE e.outcome = 'start_failed' AND e.number > r.budget_base AND e.number > coalesce(
                   (SELECT max(o.number) FROM runs_attempt o
                    WHERE o.run_id = r.id AND o.number <> a.number AND o.outcome NOT IN ('start_failed', 'released')),
                   0)
           ) AS start_failure_count
    FROM runs_attempt e
    WHERE e.run_id = r.id AND e.number <> a.number
) AS counts
UNION ALL
SELECT true, i.run_id, NULL, i.token, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM input i
-- As sub-selects, of which the first is hashed: as joins they would compare every row with every other.
WHERE i.run_id NOT IN (SELECT id FROM locked) AND (SELECT true FROM runs_run r WHERE r.id = i.run_id)
