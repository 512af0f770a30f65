-- Purpose: store log lines of running attempts, and of attempts that ended less than 60 s ago.
-- Parameters: arrays of one length: ids uuid[], run_ids uuid[], tokens bytea[], attempts int[], sequences int[],
--   levels text[], sources text[], messages text[], fields text[] (JSON text or null), logged_ats timestamptz[].
-- Returns: ord (position from 1) of the lines whose token was refused. Locks: nothing; a line moves no state.
-- Relies on: attempt_number_is_unique, log_line_is_unique.
WITH input AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(run_ids)s::uuid[], %(tokens)s::bytea[], %(attempts)s::int[], %(sequences)s::int[],
        %(levels)s::text[], %(sources)s::text[], %(messages)s::text[], %(fields)s::text[], %(logged_ats)s::timestamptz[]
    ) WITH ORDINALITY AS i (id, run_id, token, attempt, sequence, level, source, message, fields, logged_at, ord)
), ok AS (
    SELECT i.* FROM input i JOIN runs_attempt a
        ON a.run_id = i.run_id AND a.number = i.attempt AND a.token = i.token
        AND (a.outcome = '' OR a.finished_at > trigger_now() - interval '60 s')
), stored AS (
    INSERT INTO runs_logline (id, run_id, attempt, sequence, level, source, message, fields, logged_at)
    SELECT id, run_id, attempt, sequence, level, source, message, fields::jsonb, logged_at FROM ok
    ON CONFLICT (run_id, attempt, sequence) DO NOTHING
)
SELECT i.ord FROM input i LEFT JOIN ok USING (ord) WHERE ok.ord IS NULL ORDER BY i.ord
