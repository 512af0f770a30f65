-- Purpose: how fast a queue was served recently, judged by the newest attempts of all queues.
-- Parameters: queue text, sample int (attempts looked at). Returns one row: starts, seconds (since the oldest of them; null
--   if there is none). Locks: nothing. Relies on: runs_attempt_pkey.
WITH newest AS MATERIALIZED (
    SELECT run_id, claimed_at FROM runs_attempt ORDER BY id DESC LIMIT %(sample)s
)
SELECT count(*) AS starts, extract(epoch FROM trigger_now() - min(n.claimed_at))::float8 AS seconds
FROM newest n JOIN runs_run r ON r.id = n.run_id
WHERE r.queue = %(queue)s
