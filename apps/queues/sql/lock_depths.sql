-- Purpose: before runs are added to queues with a depth limit, lock those queues, so that their counts hold until commit.
-- Parameters: queues text[]. Returns: name, max_depth. Locks: the queues' rows, in order of name.
-- Relies on: queues_queue_pkey.
SELECT name, max_depth FROM queues_queue WHERE name = ANY(%(queues)s) AND max_depth IS NOT NULL
ORDER BY name
FOR NO KEY UPDATE
