-- Purpose: the live claims of a poll whose reply may have been lost, each with a whole time to confirm it: its worker
--   counts from the receipt.
-- Parameters: worker_id uuid, poll_id uuid, confirm_seconds int. Returns: as claim_runs.
-- Locks: the runs, in id order; leaves out what others hold: such a claim ends unconfirmed, as one that was never sent.
-- Relies on: attempt_of_poll_idx.
WITH ok AS MATERIALIZED (
    SELECT r.id
    FROM (SELECT * FROM runs_attempt WHERE poll_id = %(poll_id)s AND outcome = '' ORDER BY run_id) AS a
    CROSS JOIN LATERAL (
        SELECT * FROM runs_run r
        WHERE r.id = a.run_id AND r.token = a.token AND (r.state = 'running') IS TRUE
          AND r.worker_id = %(worker_id)s
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), renewed AS (
    UPDATE runs_run r
    SET lease_end = greatest(r.lease_end, trigger_now() + make_interval(secs => %(confirm_seconds)s))
    FROM ok WHERE r.id = ok.id
    RETURNING r.*
)
SELECT r.id AS run_id, r.attempt_count AS attempt, r.token, r.task_id, r.deployment_id,
       (SELECT v.payload::text FROM runs_value v WHERE v.run_id = r.id) AS payload, r.max_attempts,
       r.progress_attempt > 0 OR r.replay_from <> '' AS has_checkpoints, coalesce(r.idempotency_scope, r.id) AS scope,
       r.has_run_out_of_memory
FROM renewed r ORDER BY r.priority DESC, r.id
