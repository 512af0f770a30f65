-- Purpose: complete runs and their attempts, many in one statement (the hot path of a finish).
-- Parameters: arrays of one length: run_ids uuid[], tokens bytea[], outputs text[] (JSON text), containers text[],
--   start_kinds text[], resumed_froms text[], running_seconds float8[], peak_memory_bytes bigint[].
-- Returns: ord (position from 1), is_stale, is_held (others hold the run, or the control of its task, and nothing was
--   written for it), outcome (of the attempt with that token, where it had ended before), recovered (text[]: tasks that had
--   failed; the same in each row).
-- One success ends its task's cool-down.
-- Locks: the runs, in id order, before anything is written; then the controls of tasks that have failed, in the order of
--   their ids. Leaves out what others hold, so that one held row keeps one run waiting and not a batch.
-- Relies on: runs_run_pkey, attempt_number_is_unique.
-- The lock is taken inside LATERAL, item by item: as a plain join the planner may compare every running run, or every run
-- there is, with every item.
WITH input AS (
    SELECT * FROM unnest(
        %(run_ids)s::uuid[], %(tokens)s::bytea[], %(outputs)s::text[], %(containers)s::text[], %(start_kinds)s::text[],
        %(resumed_froms)s::text[], %(running_seconds)s::float8[], %(peak_memory_bytes)s::bigint[]
    ) WITH ORDINALITY AS i (run_id, token, output, container, start_kind, resumed_from, running_seconds,
                            peak_memory_bytes, ord)
), locked AS MATERIALIZED (
    SELECT i.*, r.task_id, r.attempt_count, trigger_now() AS now
    FROM (SELECT * FROM input ORDER BY run_id) AS i
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = i.run_id AND r.token = i.token AND (r.state = 'running') IS TRUE
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), failing AS MATERIALIZED (
    SELECT task_id FROM runs_taskcontrol
    WHERE task_id IN (SELECT task_id FROM locked) AND failing_runs <> '{}'
    ORDER BY task_id
    FOR NO KEY UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT task_id FROM runs_taskcontrol
    WHERE task_id IN (SELECT task_id FROM locked) AND failing_runs <> '{}'
    EXCEPT SELECT task_id FROM failing
), ok AS MATERIALIZED (
    SELECT * FROM locked WHERE task_id NOT IN (SELECT task_id FROM held)
), completed AS (
    UPDATE runs_run r
    SET state = 'completed', token = NULL, worker_id = NULL, lease_end = NULL, finished_at = ok.now,
        version = r.version + 1
    FROM ok WHERE r.id = ok.run_id
), ended AS (
    UPDATE runs_attempt a
    SET outcome = 'completed',
        finished_at = ok.now,
        answer = '{"state": "completed"}',
        is_confirmed = true,
        container = coalesce(ok.container, a.container),
        start_kind = coalesce(ok.start_kind, a.start_kind),
        resumed_from = coalesce(ok.resumed_from, a.resumed_from),
        exit_code = 0,
        peak_memory_bytes = ok.peak_memory_bytes,
        started_at = coalesce(a.started_at, ok.now - make_interval(secs => ok.running_seconds))
    FROM ok WHERE a.run_id = ok.run_id AND a.number = ok.attempt_count
), recovered AS MATERIALIZED (
    SELECT task_id, trigger_forget_failures(task_id) AS forgotten FROM failing
), stored AS (
    UPDATE runs_value v SET output = ok.output::json, error = NULL FROM ok WHERE v.run_id = ok.run_id
)
SELECT i.ord,
       ok.run_id IS NULL AS is_stale,
       CASE WHEN ok.run_id IS NULL THEN EXISTS (
           SELECT FROM runs_run r WHERE r.id = i.run_id AND r.token = i.token AND r.state = 'running')
       ELSE false END AS is_held,
       CASE WHEN ok.run_id IS NULL THEN
           (SELECT a.outcome FROM runs_attempt a WHERE a.run_id = i.run_id AND a.token = i.token)
       END AS outcome,
       (SELECT array_agg(task_id) FROM recovered) AS recovered
FROM input i LEFT JOIN ok USING (ord)
ORDER BY i.ord
