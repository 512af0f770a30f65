-- Purpose: remove idempotency keys that have expired.
-- Parameters: limit int. Returns: id. Locks: the keys it removes; leaves those that others hold.
-- Relies on: idempotency_key_expiry_idx.
WITH candidate AS MATERIALIZED (
    SELECT id FROM runs_idempotencykey WHERE expires_at <= (SELECT trigger_now()) ORDER BY expires_at LIMIT %(limit)s
), locked AS MATERIALIZED (
    SELECT k.id FROM runs_idempotencykey k JOIN candidate c ON c.id = k.id
    WHERE k.expires_at <= (SELECT trigger_now())
    ORDER BY k.task_id, k.key
    FOR UPDATE OF k SKIP LOCKED
)
DELETE FROM runs_idempotencykey k USING locked l WHERE k.id = l.id AND k.expires_at <= (SELECT trigger_now())
RETURNING k.id
