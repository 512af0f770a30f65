-- Purpose: what a new attempt restores: the checkpoints of a run, in commit order, for the holder of its token.
-- Parameters: run_id uuid, token bytea. Returns: key, index, data (text), carried (text or null), binds; one row of nulls
--   for a run without checkpoints, no row for a token that is not the present one.
-- Locks: nothing. Relies on: checkpoint_index_is_unique.
SELECT c.key, c.index, c.data::text AS data, c.carried::text AS carried, c.binds
FROM runs_run r LEFT JOIN checkpoints_checkpoint c ON c.run_id = r.id
WHERE r.id = %(run_id)s AND r.token = %(token)s AND r.state = 'running'
ORDER BY c.index
