-- Purpose: the data of one entry that a page of load_checkpoints only named.
-- Parameters: run_id uuid, token bytea, index int. Returns: data (text or null: there is no such entry); no row if the
--   token is not the current one. Locks: nothing. Relies on: checkpoint_index_is_unique.
SELECT c.data::text AS data
FROM runs_run r LEFT JOIN checkpoints_checkpoint c ON c.run_id = r.id AND c.index = %(index)s
WHERE r.id = %(run_id)s AND r.token = %(token)s AND r.state = 'running'
