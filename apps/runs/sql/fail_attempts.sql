-- Purpose: end attempts that did not complete and move their runs. The caller holds the runs' locks (lock_attempts).
-- Parameters: rows json, a list of {run_id, token (hex), outcome, state, delay_seconds, error, attempt_error, container,
--   start_kind, resumed_from, running_seconds, exit_code, peak_memory_bytes}; times in seconds.
-- Returns: nothing that the caller reads. LATERAL as in complete_attempts. Relies on: runs_run_pkey,
--   attempt_number_is_unique.
WITH input AS (
    SELECT i.*, decode(i.token, 'hex') AS token_bytes, trigger_now() AS now
    FROM json_to_recordset(%(rows)s) AS i (
        run_id uuid, token text, outcome text, state text, delay_seconds float8, error jsonb, attempt_error jsonb,
        container text, start_kind text, resumed_from text, running_seconds float8, exit_code int,
        peak_memory_bytes bigint)
), ok AS MATERIALIZED (
    SELECT i.*
    FROM input i
    CROSS JOIN LATERAL (
        SELECT FROM runs_run r WHERE r.id = i.run_id AND r.token = i.token_bytes AND (r.state = 'running') IS TRUE
        FOR NO KEY UPDATE
    ) AS r
), moved AS (
    UPDATE runs_run r
    SET state = i.state,
        token = NULL,
        worker_id = NULL,
        lease_end = NULL,
        excused_count = r.excused_count
            + (i.outcome NOT IN ('failed', 'timed_out', 'out_of_memory', 'crashed'))::int,
        has_run_out_of_memory = r.has_run_out_of_memory OR i.outcome = 'out_of_memory',
        due_at = CASE WHEN i.state = 'retrying' THEN i.now + make_interval(secs => i.delay_seconds) END,
        finished_at = CASE WHEN i.state IN ('dead_letter', 'canceled') THEN i.now END,
        version = r.version + 1
    FROM ok i
    WHERE r.id = i.run_id
    RETURNING r.id, r.attempt_count, r.due_at, i.now, i.outcome, i.state, i.error, i.attempt_error, i.container,
              i.start_kind, i.resumed_from, i.running_seconds, i.exit_code, i.peak_memory_bytes
), ended AS (
    UPDATE runs_attempt a
    SET outcome = m.outcome,
        finished_at = m.now,
        error = m.attempt_error,
        answer = jsonb_build_object('state', m.state),
        container = coalesce(m.container, a.container),
        start_kind = coalesce(m.start_kind, a.start_kind),
        resumed_from = coalesce(m.resumed_from, a.resumed_from),
        exit_code = m.exit_code,
        peak_memory_bytes = m.peak_memory_bytes,
        started_at = coalesce(a.started_at, m.now - make_interval(secs => m.running_seconds))
    FROM moved m
    WHERE a.run_id = m.id AND a.number = m.attempt_count
)
UPDATE runs_value v SET error = m.error FROM moved m WHERE v.run_id = m.id AND m.error IS NOT NULL
