"""Version, times and sizes that workers and coordinators share."""

PROTOCOL_VERSION = "1.2"
"""Major and minor; a coordinator refuses a worker with another major version."""

POLL_SECONDS = 20.0
HEARTBEAT_SECONDS = 30.0
HEARTBEAT_RETRY_SECONDS = 5.0
LEASE_SECONDS = 60
SELF_KILL_SECONDS = 55.0
"""A worker kills an attempt this long after sending the last acknowledged renewal: before its lease can have ended."""

CONFIRM_SECONDS = 20
"""A claim the worker does not confirm within this time is released. Longer than the longest database silence that the
pulse ignores (15 s): a claim made just before such a silence must have time to be confirmed after it."""

SUSPECT_SECONDS = 5
"""A worker whose connection broke loses its leases if it does not come back within this time."""

DATABASE_AWAY_SECONDS = 15 * 60
"""How long a worker accepts a coordinator's "database away" as a sign of life."""

BATCH_MAX_ITEMS = 500
BATCH_MAX_BYTES = 8_000_000
