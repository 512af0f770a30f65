-- Purpose: close dead letters with a note. They keep the time at which their last attempt ended.
-- Parameters: run_ids uuid[], note text. Returns: id. Locks: the runs, in id order. Relies on: runs_run_pkey,
--   runs_value_pkey.
WITH found AS MATERIALIZED (
    SELECT id FROM runs_run
    WHERE id = ANY(%(run_ids)s::uuid[]) AND (state = 'dead_letter') IS TRUE
    ORDER BY id
    FOR NO KEY UPDATE
), moved AS (
    UPDATE runs_run r
    SET state = 'discarded', version = r.version + 1
    FROM found f
    WHERE r.id = f.id
    RETURNING r.id
), noted AS (
    UPDATE runs_value v SET note = %(note)s FROM moved m WHERE v.run_id = m.id
)
SELECT id FROM moved
