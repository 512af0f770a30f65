-- Purpose: how many runs wait in queues, counted no further than asked for. Runs after lock_depths in the same
--   transaction, as a separate statement: what others added before they released the lock must be seen.
-- Parameters: arrays of one length: queues text[], limits int[]. Returns: name, depth (at most the limit).
-- Locks: nothing. Relies on: run_claim_idx, run_delayed_idx.
SELECT q.name, (
    SELECT count(*) FROM (
        (SELECT FROM runs_run r WHERE r.state = 'pending' AND r.queue = q.name ORDER BY r.queue, r.task_id LIMIT q.most)
        UNION ALL
        (SELECT FROM runs_run r WHERE r.state = 'delayed' AND r.queue = q.name ORDER BY r.queue LIMIT q.most)
        LIMIT q.most
    ) AS waiting
) AS depth
FROM unnest(%(queues)s::text[], %(limits)s::int[]) AS q (name, most)
