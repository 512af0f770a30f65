"""`python -m benchmarks.trigger_many TASK COUNT`: commits the runs in one transaction and prints when it had.

A process of its own: each site has another database, and Django knows one.
"""

import sys
import time

import django


def main(task: str, count: int) -> None:
    django.setup()
    from django.db import transaction

    from apps.runs.lifecycle import trigger

    with transaction.atomic():
        for _ in range(count):
            trigger(task)
    print(time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
