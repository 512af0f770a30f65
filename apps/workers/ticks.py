"""The coordinator's timed steps for leases; each is safe to repeat and to run in two processes."""

from uuid import UUID

from apps.workers import leases

SWEEP_PAGE = 100


def stamp_pulse() -> bool:
    leases.stamp_pulse()
    return False


def expire_ended_leases() -> bool:
    """Sweeps all ended leases, page by page: a page full of long, healthy runs must not hide the rest."""
    after: UUID | None = None
    while True:
        ended = leases.expire_leases(after=after, limit=SWEEP_PAGE)
        if len(ended) < SWEEP_PAGE:
            return False
        after = ended[-1]
