-- Purpose: find attempts whose lease has ended, or whose worker has been suspected for too long.
-- Parameters: limit int, after uuid (keyset: runs with a greater id), suspect_seconds int, grace_seconds int (a lease
--   does not end until so long after the database came back), silence_seconds int (nor while the pulse is older than
--   this: the database is back and no coordinator has noted it yet).
-- Returns: run_id, token, is_confirmed. Locks: the runs; skips those that others hold.
-- The running set is small and scanned by its index; lease_end is in no index. Relies on: run_of_worker_idx.
WITH pulse AS (
    SELECT coalesce(max(resumed_at) + make_interval(secs => %(grace_seconds)s), '-infinity') AS trusted_from,
           coalesce(max(beat_at), 'infinity') AS beat_at
    FROM workers_pulse
), candidate AS MATERIALIZED (
    SELECT r.id, r.token, r.attempt_count
    FROM runs_run r LEFT JOIN workers_worker w ON w.id = r.worker_id
    WHERE r.state = 'running'
      AND r.id > %(after)s
      AND trigger_now() > (SELECT trusted_from FROM pulse)
      AND (SELECT beat_at FROM pulse) >= trigger_now() - make_interval(secs => %(silence_seconds)s)
      AND (r.lease_end < trigger_now()
           OR w.suspected_at < trigger_now() - make_interval(secs => %(suspect_seconds)s)
           OR w.stopped_at IS NOT NULL)
    ORDER BY r.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
SELECT c.id AS run_id, c.token, a.is_confirmed
FROM candidate c JOIN runs_attempt a ON a.run_id = c.id AND a.number = c.attempt_count
ORDER BY c.id
