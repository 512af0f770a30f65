-- Purpose: end the suspicion of workers whose poll is held open.
-- Parameters: worker_ids uuid[]. Returns: nothing. Relies on: workers_worker_pkey.
UPDATE workers_worker SET suspected_at = NULL, last_seen_at = trigger_now()
WHERE id = ANY(%(worker_ids)s) AND suspected_at IS NOT NULL
