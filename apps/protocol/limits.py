"""Version, times and sizes that workers and coordinators have agreed on."""

PROTOCOL_VERSION = "1.1"
"""Major and minor; a coordinator refuses a worker of another major."""

POLL_SECONDS = 20.0
HEARTBEAT_SECONDS = 30.0
HEARTBEAT_RETRY_SECONDS = 5.0
LEASE_SECONDS = 60
SELF_KILL_SECONDS = 55.0
"""A worker kills an attempt this long after it sent the last acknowledged renewal: before the lease can have ended."""

CONFIRM_SECONDS = 20
"""A claim that the worker does not confirm within this time is released. Longer than a silence of the database that the
pulse takes for none (15 s): what was claimed just before one must have time to be confirmed after it."""

SUSPECT_SECONDS = 5
"""A worker whose connection broke and that did not come back within this time loses its leases."""

DATABASE_AWAY_SECONDS = 15 * 60
"""For so long a worker takes a coordinator's "database away" for a sign of life."""

BATCH_MAX_ITEMS = 500
BATCH_MAX_BYTES = 8_000_000
