-- Purpose: what a new attempt restores: a page of a run's checkpoints and steps, in commit order, for the holder of its
--   token. Step results are included up to inline_bytes in total; later ones are only named (data null), because a task
--   may have thousands of them and need one at a time.
-- Parameters: run_id uuid, token bytea, after_index int (-1: the first page), inline_bytes bigint, page_bytes bigint.
-- Returns: key, kind, index, codec, data (text or null), carried (text or null), binds, has_more; one row of nulls if
--   there is nothing, no row if the token is not the current one.
-- Locks: nothing. Relies on: checkpoint_index_is_unique.
WITH measured AS (
    SELECT c.run_id, c.index, c.size_bytes,
           c.kind = 'step' AND sum(CASE WHEN c.kind = 'step' THEN c.size_bytes ELSE 0 END) OVER (ORDER BY c.index)
               > %(inline_bytes)s AS is_deferred
    FROM checkpoints_checkpoint c
    WHERE c.run_id = %(run_id)s
), page AS (
    -- 200 bytes stand for a key and the rest of its row.
    SELECT m.*,
           sum(CASE WHEN m.is_deferred THEN 200 ELSE 200 + m.size_bytes END)
               OVER (ORDER BY m.index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before,
           max(m.index) OVER () AS last_index
    FROM measured m
    WHERE m.index > %(after_index)s
)
SELECT c.key, c.kind, c.index, c.codec, CASE WHEN NOT p.is_deferred THEN c.data::text END AS data,
       c.carried::text AS carried, c.binds,
       coalesce(max(c.index) OVER () < p.last_index, false) AS has_more
FROM runs_run r
LEFT JOIN (page p JOIN checkpoints_checkpoint c ON c.run_id = p.run_id AND c.index = p.index)
    ON c.run_id = r.id AND coalesce(p.bytes_before, 0) < %(page_bytes)s
WHERE r.id = %(run_id)s AND r.token = %(token)s AND r.state = 'running'
ORDER BY c.index
