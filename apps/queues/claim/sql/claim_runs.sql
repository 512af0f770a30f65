-- Purpose: lease pending runs of the planned lanes to one worker. Within a group (the lanes of one queue and key) the
--   highest priority goes first, then the oldest. Runs after lock_claims and lane_terms in the same transaction.
-- Parameters: worker_id uuid, poll_id uuid, confirm_seconds int (the lease until the claim is confirmed), now timestamptz
--   (of lane_terms); arrays of one
--   length, a lane each: groups int[], queues text[], tasks text[], keys text[], takes int[] (most from this lane),
--   are_squeezed bool[] (nothing of the group is taken that goes after a run of this lane beyond those), after_turned int[] and after_ids uuid[] (the place in the lane behind which to look: 0 - priority, id), is_retired
--   bool[] (only runs that are bound to a deployment), deployment_ids uuid[] (for the others); group_takes int[] (most from group 1, 2, ...).
-- Returns: run_id, attempt, token, task_id, deployment_id, payload (text), max_attempts, has_checkpoints, scope (the run
--   whose idempotency keys it uses), has_run_out_of_memory, queue, concurrency_key, priority.
-- Locks: the runs it takes, and some of the same groups that it leaves; skips those that others hold.
-- Relies on: run_claim_idx. The candidates are materialised, because a nested loop would run the LIMITs per row (667 rows
--   for LIMIT 1, reproduced).
WITH lane AS (
    SELECT * FROM unnest(
        %(groups)s::int[], %(queues)s::text[], %(tasks)s::text[], %(keys)s::text[], %(takes)s::int[],
        %(are_squeezed)s::bool[], %(after_turned)s::int[], %(after_ids)s::uuid[], %(is_retired)s::bool[],
        %(deployment_ids)s::uuid[]
    ) AS l (grp, queue, task_id, concurrency_key, take, is_squeezed, after_turned, after_id, is_retired, deployment_id)
), candidate AS MATERIALIZED (
    SELECT c.id, c.deployment_id
    FROM unnest(%(group_takes)s::int[]) WITH ORDINALITY AS g (take, grp)
    CROSS JOIN LATERAL (
        SELECT o.id, o.deployment_id
        FROM (
            SELECT r.id, r.priority, coalesce(r.deployment_id, l.deployment_id) AS deployment_id,
                   bool_or(r.place > l.take) OVER (ORDER BY r.priority DESC, r.id) AS is_behind
            FROM lane l
            CROSS JOIN LATERAL (
                SELECT n.*, row_number() OVER (ORDER BY n.priority DESC, n.id) AS place
                FROM (
                    SELECT r.id, r.priority, r.deployment_id
                    FROM runs_run r
                    WHERE r.state = 'pending'
                      AND r.queue = l.queue AND r.task_id = l.task_id AND r.concurrency_key = l.concurrency_key
                      AND (0 - r.priority, r.id) > (l.after_turned, l.after_id)
                      AND (r.expires_at IS NULL OR r.attempt_count > 0 OR r.expires_at > %(now)s)
                      AND CASE WHEN l.is_retired THEN r.deployment_id IS NOT NULL ELSE true END
                    ORDER BY 0 - r.priority, r.id
                    LIMIT l.take + l.is_squeezed::int
                    FOR UPDATE SKIP LOCKED
                ) AS n
            ) AS r
            WHERE l.grp = g.grp
        ) AS o
        WHERE NOT o.is_behind
        ORDER BY o.priority DESC, o.id
        LIMIT g.take
    ) AS c
), claimed AS (
    UPDATE runs_run r
    SET state = 'running',
        deployment_id = c.deployment_id,
        attempt_count = r.attempt_count + 1,
        token = uuid_send(gen_random_uuid()),
        worker_id = %(worker_id)s,
        lease_end = %(now)s + make_interval(secs => %(confirm_seconds)s),
        started_at = coalesce(r.started_at, %(now)s),
        version = r.version + 1
    FROM candidate c
    WHERE r.id = c.id AND (r.state = 'pending') IS TRUE
    RETURNING r.*
), attempt AS (
    INSERT INTO runs_attempt (run_id, number, deployment_id, token, worker_id, poll_id, outcome, is_confirmed,
                              container, start_kind, claimed_at)
    SELECT id, attempt_count, deployment_id, token, worker_id, %(poll_id)s, '', false, '', '', %(now)s
    FROM claimed
)
SELECT r.id AS run_id, r.attempt_count AS attempt, r.token, r.task_id, r.deployment_id,
       (SELECT v.payload::text FROM runs_value v WHERE v.run_id = r.id) AS payload, r.max_attempts,
       r.progress_attempt > 0 OR r.replay_from <> '' AS has_checkpoints, coalesce(r.idempotency_scope, r.id) AS scope,
       r.has_run_out_of_memory, r.queue, r.concurrency_key, r.priority
FROM claimed r
ORDER BY r.priority DESC, r.id
