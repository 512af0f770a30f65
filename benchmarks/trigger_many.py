"""`python -m benchmarks.trigger_many TASK COUNT [JSON]`: commits the runs in one transaction.

Prints JSON: committed_at (monotonic seconds), last_id. The third argument holds the verb's arguments besides the task.
Runs as a separate process: each site has another database, and Django knows only one.
"""

import json
import sys
import time
from typing import Any

import django


def main(task: str, count: int, arguments: dict[str, Any]) -> None:
    django.setup()
    from django.db import transaction

    from apps.live.notify import notifier
    from apps.runs.lifecycle import trigger

    with transaction.atomic():
        for _ in range(count):
            run = trigger(task, **arguments)
    print(json.dumps({"committed_at": time.monotonic(), "last_id": str(run.id)}))
    notifier().flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
