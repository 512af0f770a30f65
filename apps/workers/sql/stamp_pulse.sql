-- Purpose: record that a coordinator reaches the database; detect when none has for a while.
-- Parameters: silence_seconds int (a pulse older than this means that the database was away).
-- Returns: resumed_at. Locks: the one row.
INSERT INTO workers_pulse AS p (id, beat_at) VALUES (1, trigger_now())
ON CONFLICT (id) DO UPDATE
SET resumed_at = CASE WHEN p.beat_at < trigger_now() - make_interval(secs => %(silence_seconds)s)
                      THEN trigger_now() ELSE p.resumed_at END,
    beat_at = trigger_now()
RETURNING resumed_at
