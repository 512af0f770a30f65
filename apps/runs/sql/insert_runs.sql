-- Purpose: insert new pending runs with their payloads, many in one statement.
-- Parameters: arrays of one length: ids uuid[], task_ids text[], queues text[], priorities smallint[],
--   concurrency_keys text[], max_attempts smallint[], payloads text[] (JSON text).
-- Returns: id, created_at. Locks: the tasks' rows, as every foreign key does. Relies on: runs_run_pkey.
WITH input AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(task_ids)s::text[], %(queues)s::text[], %(priorities)s::smallint[],
        %(concurrency_keys)s::text[], %(max_attempts)s::smallint[], %(payloads)s::text[]
    ) AS i (id, task_id, queue, priority, concurrency_key, max_attempts, payload)
), inserted AS (
    INSERT INTO runs_run (id, task_id, state, queue, priority, concurrency_key, max_attempts, attempt_count,
                          progress_attempt, budget_base, is_cancel_requested, replay_from, version, tags, idempotency_key,
                          has_run_out_of_memory, created_at)
    SELECT id, task_id, 'pending', queue, priority, concurrency_key, max_attempts, 0, 0, 0, false, '', 0, '{}', '',
           false, now()
    FROM input
    RETURNING id, created_at
), stored AS (
    INSERT INTO runs_value (run_id, payload, traceparent, note) SELECT id, payload::json, '', '' FROM input
)
SELECT id, created_at FROM inserted
