-- Purpose: add a worker at its start, or bring it back.
-- Parameters: worker_id uuid, name, executor, executor_note, concurrency int, protocol. Returns: nothing.
INSERT INTO workers_worker AS w (id, name, executor, executor_note, concurrency, protocol_version, started_at, last_seen_at)
VALUES (%(worker_id)s, %(name)s, %(executor)s, %(executor_note)s, %(concurrency)s, %(protocol)s, trigger_now(), trigger_now())
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, executor = excluded.executor, executor_note = excluded.executor_note,
    concurrency = excluded.concurrency, protocol_version = excluded.protocol_version,
    last_seen_at = excluded.last_seen_at, suspected_at = NULL, stopped_at = NULL
