-- Purpose: what bounds a claim from these lanes: limits, what runs under them, rates and pauses. Runs after lock_claims in
--   the same transaction, so that nothing is counted before the lane is held.
-- Parameters: arrays of one length: queues text[], tasks text[], keys text[] (a lane each); cooling_from int (so many
--   failing runs make a task one that cools down); poll_id uuid.
-- Returns a row for each lane that is not stopped, in the order given: queue, task_id, concurrency_key, is_retired,
--   deployment_id (the task's newest);
--   queue_limit, task_limit, key_limit (null: none) with queue_running, task_running, key_running; queue_rate, task_rate,
--   key_rate (as 100/m; null: none) with queue_ahead, task_ahead, key_ahead (seconds by which the rate's next even arrival
--   lies in the future); is_cooling; is_probing (a probe of it still has its time); now (the clock of the whole claim);
--   poll_count (attempts that this poll was answered with before, by any coordinator).
-- Locks: nothing. The running runs are counted only where something limits them. Relies on: run_of_worker_idx,
--   runs_run_pkey, rate_limit_is_unique, attempt_of_poll_idx.
WITH clock AS MATERIALIZED (SELECT trigger_now() AS now), lane AS MATERIALIZED (
    SELECT l.*, t.is_retired, t.deployment_id,
           q.max_concurrency AS queue_limit,
           nullif(q.rate_limit, '') AS queue_rate,
           coalesce(c.max_concurrency_total, (v.options ->> 'max_concurrency_total')::int) AS task_limit,
           coalesce(c.max_concurrency, (v.options ->> 'max_concurrency')::int) AS key_limit,
           coalesce(nullif(c.rate_limit, ''), v.options ->> 'rate_limit') AS task_rate,
           coalesce(nullif(c.rate_limit_per_key, ''), v.options ->> 'rate_limit_per_key') AS key_rate,
           coalesce(cardinality(c.failing_runs), 0) >= %(cooling_from)s AS is_cooling,
           -- Its last probe alone, and not for ever: what ran before the cool-down began holds nothing back.
           c.probe_until > clock.now IS TRUE AND EXISTS (
               SELECT FROM runs_run p WHERE p.id = c.probe_run AND (p.state = 'running') IS TRUE) AS is_probing
    FROM unnest(%(queues)s::text[], %(tasks)s::text[], %(keys)s::text[])
        WITH ORDINALITY AS l (queue, task_id, concurrency_key, ord)
    CROSS JOIN clock
    JOIN runs_task t ON t.id = l.task_id
    LEFT JOIN runs_taskversion v ON v.deployment_id = t.deployment_id AND v.task_id = t.id
    LEFT JOIN runs_taskcontrol c ON c.task_id = l.task_id
    LEFT JOIN queues_queue q ON q.name = l.queue
    WHERE q.is_paused IS NOT TRUE
      AND c.is_paused IS NOT TRUE
      AND (c.cooling_until IS NULL OR c.cooling_until <= clock.now)
), running AS MATERIALIZED (
    SELECT queue, task_id, concurrency_key, count(*) AS count
    FROM runs_run
    WHERE state = 'running'
      AND (SELECT bool_or(coalesce(queue_limit, task_limit, key_limit) IS NOT NULL) FROM lane)
    GROUP BY queue, task_id, concurrency_key
), in_queue AS (
    SELECT queue, sum(count) AS count FROM running GROUP BY queue
), of_task AS (
    SELECT task_id, sum(count) AS count FROM running GROUP BY task_id
), of_key AS (
    SELECT task_id, concurrency_key, sum(count) AS count FROM running GROUP BY task_id, concurrency_key
)
SELECT l.queue, l.task_id, l.concurrency_key, l.is_retired, l.deployment_id, l.is_cooling, l.is_probing,
       l.queue_limit, l.task_limit, l.key_limit,
       coalesce(in_queue.count, 0)::int AS queue_running,
       coalesce(of_task.count, 0)::int AS task_running,
       coalesce(of_key.count, 0)::int AS key_running,
       l.queue_rate, l.task_rate, l.key_rate,
       coalesce(rq.ahead, 0) AS queue_ahead, coalesce(rt.ahead, 0) AS task_ahead, coalesce(rk.ahead, 0) AS key_ahead,
       clock.now,
       (SELECT count(*) FROM runs_attempt WHERE poll_id = %(poll_id)s)::int AS poll_count
FROM lane l
CROSS JOIN clock
LEFT JOIN in_queue ON in_queue.queue = l.queue
LEFT JOIN of_task ON of_task.task_id = l.task_id
LEFT JOIN of_key ON of_key.task_id = l.task_id AND of_key.concurrency_key = l.concurrency_key
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM r.arrives_at - clock.now)::float8 AS ahead FROM queues_ratelimit r
    WHERE l.queue_rate IS NOT NULL AND r.scope = 'queue' AND r.name = l.queue AND r.concurrency_key = ''
    LIMIT 1
) AS rq ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM r.arrives_at - clock.now)::float8 AS ahead FROM queues_ratelimit r
    WHERE l.task_rate IS NOT NULL AND r.scope = 'task' AND r.name = l.task_id AND r.concurrency_key = ''
    LIMIT 1
) AS rt ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM r.arrives_at - clock.now)::float8 AS ahead FROM queues_ratelimit r
    WHERE l.key_rate IS NOT NULL AND r.scope = 'key' AND r.name = l.task_id AND r.concurrency_key = l.concurrency_key
    LIMIT 1
) AS rk ON true
ORDER BY l.ord
