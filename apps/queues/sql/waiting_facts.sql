-- Purpose: everything that may keep one run from running, in one snapshot: what a claim would read, without the lock.
-- Parameters: run_id uuid; shown_limit int (blocking runs per limit), ahead_limit int (runs ahead are counted up to it),
--   answers_seconds int (a worker that has been silent for longer does not count).
-- Returns one row, or none if there is no such run: state, now, due_at, queue, task_id, concurrency_key, attempt_count,
--   attempt_limit, is_unbound (no deployment yet), is_retired, is_over (its time to live has ended), is_queue_paused,
--   is_task_paused, failing_count, cooling_until, probe_run, probe_until, is_probing; queue_, task_ and key_ each with
--   limit, running, runs (uuid[]), rate and ahead (seconds, as in lane_terms); ahead_count (of its lane); worker_count,
--   slot_count, running_count; error_type and resume_key (of a retrying run).
-- Locks: nothing. Relies on: runs_run_pkey, run_of_worker_idx, run_claim_idx.
WITH run AS MATERIALIZED (
    SELECT r.id, r.state, r.queue, r.task_id, r.concurrency_key, r.priority, r.due_at, r.attempt_count,
           r.budget_base + r.excused_count + r.max_attempts AS attempt_limit, r.deployment_id IS NULL AS is_unbound, t.is_retired,
           trigger_now() AS now, r.expires_at,
           q.is_paused IS TRUE AS is_queue_paused, c.is_paused IS TRUE AS is_task_paused,
           coalesce(cardinality(c.failing_runs), 0) AS failing_count, c.cooling_until, c.probe_run, c.probe_until,
           c.probe_until > trigger_now() IS TRUE AND EXISTS (
               SELECT FROM runs_run p WHERE p.id = c.probe_run AND p.state = 'running') AS is_probing,
           q.max_concurrency AS queue_limit,
           coalesce(c.max_concurrency_total, (v.options ->> 'max_concurrency_total')::int) AS task_limit,
           coalesce(c.max_concurrency, (v.options ->> 'max_concurrency')::int) AS key_limit,
           nullif(q.rate_limit, '') AS queue_rate,
           coalesce(nullif(c.rate_limit, ''), v.options ->> 'rate_limit') AS task_rate,
           coalesce(nullif(c.rate_limit_per_key, ''), v.options ->> 'rate_limit_per_key') AS key_rate
    FROM runs_run r
    JOIN runs_task t ON t.id = r.task_id
    LEFT JOIN runs_taskversion v ON v.deployment_id = t.deployment_id AND v.task_id = t.id
    LEFT JOIN runs_taskcontrol c ON c.task_id = r.task_id
    LEFT JOIN queues_queue q ON q.name = r.queue
    WHERE r.id = %(run_id)s
), running AS MATERIALIZED (
    SELECT o.id,
           o.queue = run.queue AS is_of_queue,
           o.task_id = run.task_id AS is_of_task,
           o.task_id = run.task_id AND o.concurrency_key = run.concurrency_key AS is_of_key
    FROM run JOIN runs_run o ON o.state = 'running'
    WHERE run.state = 'pending'
), worker AS (
    SELECT count(*) AS worker_count, coalesce(sum(concurrency), 0) AS slot_count
    FROM workers_worker
    WHERE stopped_at IS NULL AND last_seen_at >= (SELECT now FROM run) - make_interval(secs => %(answers_seconds)s)
), rate AS (
    SELECT l.scope, extract(epoch FROM l.arrives_at - run.now)::float8 AS ahead
    FROM run JOIN queues_ratelimit l
      ON (l.scope, l.name, l.concurrency_key) IN (
          ('queue', run.queue, ''), ('task', run.task_id, ''), ('key', run.task_id, run.concurrency_key))
    WHERE l.arrives_at > run.now
)
SELECT run.*,
       coalesce(run.expires_at <= run.now AND run.attempt_count = 0, false) AS is_over,
       (SELECT count(*) FROM running WHERE is_of_queue)::int AS queue_running,
       (SELECT count(*) FROM running WHERE is_of_task)::int AS task_running,
       (SELECT count(*) FROM running WHERE is_of_key)::int AS key_running,
       (SELECT count(*) FROM running)::int AS running_count,
       ARRAY(SELECT id FROM running WHERE is_of_queue ORDER BY id LIMIT %(shown_limit)s) AS queue_runs,
       ARRAY(SELECT id FROM running WHERE is_of_task ORDER BY id LIMIT %(shown_limit)s) AS task_runs,
       ARRAY(SELECT id FROM running WHERE is_of_key ORDER BY id LIMIT %(shown_limit)s) AS key_runs,
       coalesce((SELECT ahead FROM rate WHERE scope = 'queue'), 0) AS queue_ahead,
       coalesce((SELECT ahead FROM rate WHERE scope = 'task'), 0) AS task_ahead,
       coalesce((SELECT ahead FROM rate WHERE scope = 'key'), 0) AS key_ahead,
       (SELECT count(*) FROM (
           SELECT FROM runs_run o
           WHERE run.state = 'pending' AND o.state = 'pending'
             AND o.queue = run.queue AND o.task_id = run.task_id AND o.concurrency_key = run.concurrency_key
             AND (0 - o.priority, o.id) < (0 - run.priority, run.id)
           LIMIT %(ahead_limit)s) AS before)::int AS ahead_count,
       worker.worker_count::int, worker.slot_count::int,
       CASE WHEN run.state = 'retrying' THEN (
           SELECT l.error ->> 'type' FROM runs_value l WHERE l.run_id = run.id) END AS error_type,
       CASE WHEN run.state = 'retrying' THEN (
           SELECT p.key FROM checkpoints_checkpoint p
           WHERE p.run_id = run.id AND p.kind = 'checkpoint' ORDER BY p.index DESC LIMIT 1) END AS resume_key
FROM run CROSS JOIN worker
