-- Purpose: find the API key of a request, judged by the database's clock. Raw because it precedes every API call, and
--   building the same query each time costs several times as much as running it.
-- Parameters: prefix text. Returns: the key's columns; is_expired, is_orphaned (its user may not sign in), is_use_stale.
-- Locks: nothing. Relies on: the unique index of access_apikey.prefix.
SELECT k.*,
       coalesce(k.expires_at <= now(), false) AS is_expired,
       coalesce(NOT u.is_active, false) AS is_orphaned,
       coalesce(k.last_used_at < now() - interval '1 minute', true) AS is_use_stale
FROM access_apikey k LEFT JOIN auth_user u ON u.id = k.user_id
WHERE k.prefix = %(prefix)s
