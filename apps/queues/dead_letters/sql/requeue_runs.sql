-- Purpose: make dead letters pending again, or delayed if they have a time; they keep their last error, but not the
--   reason why no attempt would follow.
-- Parameters: arrays of one length: run_ids uuid[], deployment_ids uuid[], delays float8[] (seconds from base_at;
--   null: pending at once); base_at timestamptz. Returns: id.
-- Locks: the runs; the caller has locked them in id order. Relies on: runs_run_pkey, runs_value_pkey.
WITH input AS (
    SELECT * FROM unnest(%(run_ids)s::uuid[], %(deployment_ids)s::uuid[], %(delays)s::float8[])
        AS i (run_id, deployment_id, delay)
), moved AS (
    UPDATE runs_run r
    SET state = CASE WHEN i.delay IS NULL THEN 'pending' ELSE 'delayed' END,
        deployment_id = i.deployment_id,
        finished_at = NULL,
        due_at = %(base_at)s::timestamptz + make_interval(secs => i.delay),
        is_cancel_requested = false,
        budget_base = r.attempt_count,
        excused_count = 0,
        dead_letter_seconds = r.dead_letter_seconds
            + greatest(0, extract(epoch FROM trigger_now() - r.finished_at)::float8),
        version = r.version + 1
    FROM input i
    WHERE r.id = i.run_id AND r.state = 'dead_letter'
    RETURNING r.id
), told AS (
    UPDATE runs_value v SET error = v.error - 'reason' FROM moved m WHERE v.run_id = m.id AND v.error ? 'reason'
)
SELECT id FROM moved
