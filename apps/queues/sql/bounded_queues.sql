-- Purpose: which of these queues have a depth that triggers may not exceed.
-- Parameters: queues text[]. Returns: name, max_depth. Locks: nothing. Relies on: queues_queue_pkey.
SELECT name, max_depth FROM queues_queue WHERE name = ANY(%(queues)s) AND max_depth IS NOT NULL
