from tests.coordinator_harness import claim, clock, committed, coordinator, worker_id

__all__ = ["claim", "clock", "committed", "coordinator", "worker_id"]
