-- Purpose: find attempts whose lease has ended, or whose worker has been suspected for too long.
-- Parameters: limit int, after uuid (keyset: runs with a greater id), suspect_seconds int, grace_seconds int (no lease ends
--   until this long after the database came back), silence_seconds int (nor while the pulse is older than this: the database
--   is back but no coordinator has noted it yet), absent_seconds int (a worker silent for longer counts as gone).
-- Returns: run_id, token, has_begun (its code may have run: the worker confirmed it, or is gone and cannot say).
-- Locks: the runs, and the suspected workers; skips held rows: a worker whose sign of life cannot be written at present is
--   not gone.
-- The running set is small and scanned by its index; lease_end is in no index. Relies on: run_of_worker_idx.
WITH pulse AS (
    SELECT coalesce(max(resumed_at) + make_interval(secs => %(grace_seconds)s), '-infinity') AS trusted_from,
           coalesce(max(beat_at), 'infinity') AS beat_at
    FROM workers_pulse
), suspected AS MATERIALIZED (
    SELECT id FROM workers_worker
    WHERE suspected_at < trigger_now() - make_interval(secs => %(suspect_seconds)s)
      AND id IN (SELECT worker_id FROM runs_run WHERE state = 'running')
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), candidate AS MATERIALIZED (
    SELECT r.id, r.token, r.attempt_count,
           w.stopped_at IS NULL AND (
               w.id IS NULL OR s.id IS NOT NULL
               OR w.last_seen_at < trigger_now() - make_interval(secs => %(absent_seconds)s)) AS is_worker_gone
    FROM runs_run r
    LEFT JOIN workers_worker w ON w.id = r.worker_id
    LEFT JOIN suspected s ON s.id = r.worker_id
    WHERE r.state = 'running'
      AND r.id > %(after)s
      AND trigger_now() > (SELECT trusted_from FROM pulse)
      AND (SELECT beat_at FROM pulse) >= trigger_now() - make_interval(secs => %(silence_seconds)s)
      AND ((r.lease_end < trigger_now() AND (w.leases_until IS NULL OR w.leases_until < trigger_now()))
           OR s.id IS NOT NULL
           OR w.stopped_at IS NOT NULL)
    ORDER BY r.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
SELECT c.id AS run_id, c.token, a.is_confirmed OR c.is_worker_gone AS has_begun
FROM candidate c JOIN runs_attempt a ON a.run_id = c.id AND a.number = c.attempt_count
ORDER BY c.id
