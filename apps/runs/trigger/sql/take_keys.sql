-- Purpose: let idempotency keys stand for new runs, where they are free or have expired.
-- Parameters: rows json, an array of objects: task_id, key, run_id, body_hash (hex), ttl_seconds; no two with the same task
--   and key. is_forced bool: whatever they stand for at present.
-- Returns: task_id, key of those that were taken. A key that a transaction under way has taken is waited for.
-- Locks: the keys' rows, also those that were not taken, in the order of (task, key). Relies on: idempotency_key_is_unique.
INSERT INTO runs_idempotencykey AS k (task_id, key, run_id, body_hash, expires_at)
SELECT task_id, key, run_id, decode(body_hash, 'hex'), trigger_now() + make_interval(secs => ttl_seconds)
FROM json_to_recordset(%(rows)s::json) AS i (task_id text, key text, run_id uuid, body_hash text, ttl_seconds float8)
ORDER BY task_id, key
ON CONFLICT (task_id, key) DO UPDATE
SET run_id = EXCLUDED.run_id, body_hash = EXCLUDED.body_hash, expires_at = EXCLUDED.expires_at
WHERE k.expires_at <= trigger_now() OR %(is_forced)s
RETURNING task_id, key
