-- Purpose: write down what was claimed under rate limits (GCRA: each run moves the next even arrival on by one interval).
--   Runs under lock_claims, like everything that changes what a claim is bounded by.
-- Parameters: arrays of one length: scopes text[], names text[], keys text[], seconds float8[] (runs times interval);
--   now timestamptz (of lane_terms: another clock than that of the count could let two runs start too close together).
-- Returns: nothing. Locks: the rates' rows. Relies on: rate_limit_is_unique.
INSERT INTO queues_ratelimit AS r (scope, name, concurrency_key, arrives_at)
SELECT i.scope, i.name, i.key, %(now)s::timestamptz + make_interval(secs => i.seconds)
FROM unnest(%(scopes)s::text[], %(names)s::text[], %(keys)s::text[], %(seconds)s::float8[]) AS i (scope, name, key, seconds)
ON CONFLICT (scope, name, concurrency_key) DO UPDATE
SET arrives_at = EXCLUDED.arrives_at + greatest(r.arrives_at - %(now)s::timestamptz, interval '0')
