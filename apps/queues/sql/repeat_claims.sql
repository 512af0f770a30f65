-- Purpose: the live claims of a poll whose reply may have been lost.
-- Parameters: worker_id uuid, poll_id uuid. Returns: as claim_runs. Locks: nothing. Relies on: attempt_of_poll_idx.
SELECT r.id AS run_id, r.attempt_count AS attempt, r.token, r.task_id, r.deployment_id, v.payload::text AS payload,
       r.max_attempts, r.progress_attempt > 0 OR r.replay_from <> '' AS has_checkpoints
FROM runs_attempt a
JOIN runs_run r ON r.id = a.run_id AND r.token = a.token
JOIN runs_value v ON v.run_id = r.id
WHERE a.poll_id = %(poll_id)s AND a.outcome = '' AND r.state = 'running' AND r.worker_id = %(worker_id)s
ORDER BY r.priority DESC, r.id
