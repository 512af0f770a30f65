from tests.coordinator_harness import claim, clock, committed, coordinator, db, worker_id

__all__ = ["claim", "clock", "committed", "coordinator", "db", "worker_id"]
