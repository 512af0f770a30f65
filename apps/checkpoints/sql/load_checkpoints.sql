-- Purpose: what a new attempt restores: the checkpoints of a run, in commit order, for the holder of its token.
-- Parameters: run_id uuid, token bytea. Returns: key, index, data (text), carried (text or null), binds.
-- Locks: nothing. Relies on: checkpoint_index_is_unique.
SELECT c.key, c.index, c.data::text AS data, c.carried::text AS carried, c.binds
FROM checkpoints_checkpoint c JOIN runs_run r ON r.id = c.run_id
WHERE c.run_id = %(run_id)s AND r.token = %(token)s AND r.state = 'running'
ORDER BY c.index
