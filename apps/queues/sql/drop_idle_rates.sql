-- Purpose: remove the state of rate limits whose time has passed: it means the same as no row.
-- Parameters: idle_seconds int, limit int. Returns: id. Locks: the rates it removes. Relies on: rate_limit_age_idx.
WITH candidate AS MATERIALIZED (
    SELECT id FROM queues_ratelimit
    WHERE arrives_at <= (SELECT trigger_now()) - make_interval(secs => %(idle_seconds)s)
    ORDER BY arrives_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM queues_ratelimit r USING candidate c WHERE r.id = c.id
RETURNING r.id
