-- Purpose: queues with what waits and runs in them: those that have a setting, live runs, or a task that uses them.
-- Parameters: name text (null: all), after text (names after this one), limit int.
-- Returns: name, is_paused, max_concurrency, rate_limit (empty: none), max_depth, pending_count, delayed_count,
--   retrying_count, running_count, oldest_at (when the oldest pending run was triggered), now, tasks text[]; by name.
-- Locks: nothing. Relies on: run_claim_idx (read alone: it has the queue and the id), run_delayed_idx,
--   run_of_worker_idx, run_by_state_idx.
-- min() over text because uuid has none before Postgres 18; both sort the same way.
WITH live AS MATERIALIZED (
    SELECT queue, 'pending' AS state, count(*) AS count, min(id::text)::uuid AS oldest
    FROM runs_run
    WHERE state = 'pending' AND (%(name)s::text IS NULL OR queue = %(name)s)
    GROUP BY queue
    UNION ALL
    SELECT queue, 'delayed', count(*), NULL
    FROM runs_run
    WHERE state = 'delayed' AND (%(name)s::text IS NULL OR queue = %(name)s)
    GROUP BY queue
    UNION ALL
    SELECT queue, 'running', count(*), NULL
    FROM runs_run
    WHERE state = 'running' AND (%(name)s::text IS NULL OR queue = %(name)s)
    GROUP BY queue
    UNION ALL
    SELECT queue, 'retrying', count(*), NULL
    FROM runs_run
    WHERE state = 'retrying' AND (%(name)s::text IS NULL OR queue = %(name)s)
    GROUP BY queue
), declared AS MATERIALIZED (
    SELECT coalesce(nullif(v.options ->> 'queue', ''), t.id) AS queue, array_agg(t.id::text ORDER BY t.id) AS tasks
    FROM runs_task t
    LEFT JOIN runs_taskversion v ON v.deployment_id = t.deployment_id AND v.task_id = t.id
    WHERE NOT t.is_retired
    GROUP BY 1
), named AS (
    SELECT name FROM queues_queue UNION SELECT queue FROM live UNION SELECT queue FROM declared
), shown AS (
    SELECT name FROM named
    WHERE name > %(after)s AND (%(name)s::text IS NULL OR name = %(name)s)
    ORDER BY name
    LIMIT %(limit)s
)
SELECT s.name,
       coalesce(q.is_paused, false) AS is_paused,
       q.max_concurrency,
       coalesce(q.rate_limit, '') AS rate_limit,
       q.max_depth,
       coalesce(sum(l.count) FILTER (WHERE l.state = 'pending'), 0)::bigint AS pending_count,
       coalesce(sum(l.count) FILTER (WHERE l.state = 'delayed'), 0)::bigint AS delayed_count,
       coalesce(sum(l.count) FILTER (WHERE l.state = 'retrying'), 0)::bigint AS retrying_count,
       coalesce(sum(l.count) FILTER (WHERE l.state = 'running'), 0)::bigint AS running_count,
       (SELECT r.created_at FROM live o JOIN runs_run r ON r.id = o.oldest WHERE o.queue = s.name) AS oldest_at,
       (SELECT trigger_now()) AS now,
       coalesce((SELECT d.tasks FROM declared d WHERE d.queue = s.name), '{}') AS tasks
FROM shown s
LEFT JOIN queues_queue q ON q.name = s.name
LEFT JOIN live l ON l.queue = s.name
GROUP BY s.name, q.is_paused, q.max_concurrency, q.rate_limit, q.max_depth
ORDER BY s.name
