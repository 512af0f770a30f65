-- Purpose: what idempotency keys stand for. Runs after take_keys in the same transaction and holds its locks.
-- Parameters: arrays of one length: task_ids text[], keys text[]. Returns: task_id, key, run_id, body_hash.
-- Locks: nothing. Relies on: idempotency_key_is_unique.
SELECT k.task_id, k.key, k.run_id, k.body_hash
FROM unnest(%(task_ids)s::text[], %(keys)s::text[]) AS i (task_id, key)
JOIN runs_idempotencykey k ON k.task_id = i.task_id AND k.key = i.key
