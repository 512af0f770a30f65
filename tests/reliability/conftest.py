from tests.coordinator_harness import committed, db

__all__ = ["committed", "db"]
