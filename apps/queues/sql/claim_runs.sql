-- Purpose: lease pending runs to one worker, highest priority first, then oldest. Runs after lock_claims in the same
--   transaction.
-- Parameters: worker_id uuid, poll_id uuid, limit int, confirm_seconds int (the lease until the claim is confirmed).
-- Returns: run_id, attempt, token, task_id, deployment_id, payload (text), max_attempts, has_checkpoints, scope
--   (the run whose idempotency keys it uses).
-- Locks: the runs it takes; skips those that others hold. Relies on: run_claim_idx.
-- The CASE hides its columns' statistics: as an OR the planner takes it for one row in thousands and sorts all that is
-- pending instead of reading the head of the index.
-- The candidates are materialised, because a nested loop would run the LIMIT per row (667 rows for LIMIT 1, reproduced).
WITH candidate AS MATERIALIZED (
    SELECT r.id, r.priority, coalesce(r.deployment_id, t.deployment_id) AS deployment_id
    FROM runs_run r JOIN runs_task t ON t.id = r.task_id
    WHERE r.state = 'pending' AND CASE WHEN r.deployment_id IS NULL THEN NOT t.is_retired ELSE true END
    ORDER BY r.priority DESC, r.id
    LIMIT %(limit)s
    FOR UPDATE OF r SKIP LOCKED
), claimed AS (
    UPDATE runs_run r
    SET state = 'running',
        deployment_id = c.deployment_id,
        attempt_count = r.attempt_count + 1,
        token = uuid_send(gen_random_uuid()),
        worker_id = %(worker_id)s,
        lease_end = trigger_now() + make_interval(secs => %(confirm_seconds)s),
        started_at = coalesce(r.started_at, trigger_now()),
        version = r.version + 1
    FROM candidate c
    WHERE r.id = c.id AND r.state = 'pending'
    RETURNING r.*
), attempt AS (
    INSERT INTO runs_attempt (run_id, number, deployment_id, token, worker_id, poll_id, outcome, is_confirmed,
                              container, start_kind, claimed_at)
    SELECT id, attempt_count, deployment_id, token, worker_id, %(poll_id)s, '', false, '', '', trigger_now()
    FROM claimed
)
SELECT r.id AS run_id, r.attempt_count AS attempt, r.token, r.task_id, r.deployment_id,
       (SELECT v.payload::text FROM runs_value v WHERE v.run_id = r.id) AS payload, r.max_attempts,
       r.progress_attempt > 0 OR r.replay_from <> '' AS has_checkpoints, coalesce(r.idempotency_scope, r.id) AS scope
FROM claimed r
ORDER BY r.priority DESC, r.id
