-- Purpose: the lanes (queue, task, concurrency key) in which something pends and that nobody has stopped, by a skip scan:
--   a lane costs one descent of the index, whatever its length, and a paused queue or task one for all of its keys.
-- Parameters: from_queue text, from_task text (the pair behind which to begin; both empty: at the first), pair_limit int (of
--   queues and their tasks), lane_limit int (keys of one pair), and where to begin the keys of
--   a pair whose last page was full, arrays of one length: from_queues text[], from_tasks text[], from_keys text[].
-- Returns at least one row: queue, task_id, concurrency_key (nulls: none is open), pair_count, last_queue, last_task (how
--   many pairs were looked at, and the last of them). Locks: nothing; what is found is a hint. Relies on: run_claim_idx.
WITH RECURSIVE pair AS (
    (SELECT queue, task_id, 1 AS n FROM runs_run
     WHERE state = 'pending' AND (queue, task_id) > (%(from_queue)s, %(from_task)s)
     ORDER BY queue, task_id
     LIMIT 1)
    UNION ALL
    SELECT next.queue, next.task_id, p.n + 1
    FROM pair p
    CROSS JOIN LATERAL (
        SELECT r.queue, r.task_id FROM runs_run r
        WHERE r.state = 'pending' AND (r.queue, r.task_id) > (p.queue, p.task_id)
        ORDER BY r.queue, r.task_id
        LIMIT 1
    ) AS next
    WHERE p.n < %(pair_limit)s
), place AS (
    SELECT * FROM unnest(%(from_queues)s::text[], %(from_tasks)s::text[], %(from_keys)s::text[]) AS f (queue, task_id, key)
), open AS MATERIALIZED (
    SELECT p.queue, p.task_id, coalesce(f.key, '') AS from_key
    FROM pair p
    JOIN runs_task t ON t.id = p.task_id
    LEFT JOIN queues_queue q ON q.name = p.queue
    LEFT JOIN runs_taskcontrol c ON c.task_id = p.task_id
    LEFT JOIN place f ON f.queue = p.queue AND f.task_id = p.task_id
    WHERE q.is_paused IS NOT TRUE
      AND c.is_paused IS NOT TRUE
      AND (c.cooling_until IS NULL OR c.cooling_until <= trigger_now())
      AND (NOT t.is_retired OR EXISTS (
          SELECT FROM runs_run r
          WHERE r.state = 'pending' AND r.queue = p.queue AND r.task_id = p.task_id AND r.deployment_id IS NOT NULL))
), last AS (
    SELECT n AS pair_count, queue, task_id FROM pair ORDER BY n DESC LIMIT 1
)
SELECT o.queue, o.task_id, lane.concurrency_key, coalesce(last.pair_count, 0) AS pair_count, last.queue AS last_queue,
       last.task_id AS last_task
FROM (SELECT) AS one
LEFT JOIN last ON true
LEFT JOIN (open o CROSS JOIN LATERAL (
    WITH RECURSIVE key AS (
        (SELECT r.concurrency_key, 1 AS n FROM runs_run r
         WHERE r.state = 'pending' AND r.queue = o.queue AND r.task_id = o.task_id AND r.concurrency_key >= o.from_key
         ORDER BY r.concurrency_key
         LIMIT 1)
        UNION ALL
        SELECT next.concurrency_key, k.n + 1
        FROM key k
        CROSS JOIN LATERAL (
            SELECT r.concurrency_key FROM runs_run r
            WHERE r.state = 'pending' AND r.queue = o.queue AND r.task_id = o.task_id
              AND r.concurrency_key > k.concurrency_key
            ORDER BY r.concurrency_key
            LIMIT 1
        ) AS next
        WHERE k.n < %(lane_limit)s
    )
    SELECT concurrency_key FROM key
) AS lane) ON true
