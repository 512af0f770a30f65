-- Purpose: insert new runs with their values, any number in one statement.
-- Parameters: rows json, an array of objects: id, task_id, queue, priority, concurrency_key, max_attempts, tags (an array
--   literal), idempotency_key, payload (JSON text), metadata (JSON text or null), traceparent, run_at or delay_seconds
--   (null: due at once), ttl_seconds (from when it is due; null: it never expires).
-- Returns: id, state, created_at, due_at, expires_at: a row for each run that has one of the two last, and one with a null id
--   that says how all others are. Locks: the tasks' rows, as every foreign key does.
-- Relies on: runs_run_pkey.
WITH clock AS MATERIALIZED (SELECT trigger_now() AS now), input AS (
    SELECT i.*, greatest(coalesce(i.run_at, now + make_interval(secs => i.delay_seconds)), now) AS due_at, now
    FROM json_to_recordset(%(rows)s::json) AS i (
        id uuid, task_id text, queue text, priority smallint, concurrency_key text, max_attempts smallint, tags text,
        idempotency_key text, payload text, metadata text, traceparent text, run_at timestamptz,
        delay_seconds float8, ttl_seconds float8
    ) CROSS JOIN clock
), inserted AS (
    INSERT INTO runs_run (id, task_id, state, queue, priority, concurrency_key, max_attempts, attempt_count,
                          progress_attempt, budget_base, is_cancel_requested, replay_from, version, tags, idempotency_key,
                          has_run_out_of_memory, created_at, due_at, expires_at)
    SELECT id, task_id, CASE WHEN due_at > now THEN 'delayed' ELSE 'pending' END, queue, priority, concurrency_key,
           max_attempts, 0, 0, 0, false, '', 0, tags::varchar[], idempotency_key, false, now(), nullif(due_at, now),
           due_at + make_interval(secs => ttl_seconds)
    FROM input
    RETURNING id, state, created_at, due_at, expires_at
), stored AS (
    INSERT INTO runs_value (run_id, payload, metadata, traceparent, note)
    SELECT id, payload::json, metadata::jsonb, traceparent, '' FROM input
)
SELECT id, state, created_at, due_at, expires_at FROM inserted WHERE coalesce(due_at, expires_at) IS NOT NULL
UNION ALL
SELECT NULL, 'pending', now(), NULL, NULL
