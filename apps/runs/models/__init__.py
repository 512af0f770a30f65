"""The rows of `runs`: tasks with their controls and deployments, runs with their values, attempts and log lines.

State moves are in `lifecycle.py`, never here.
"""

from apps.runs.models.attempt import Attempt as Attempt
from apps.runs.models.lines import LogLine as LogLine
from apps.runs.models.run import (
    BUMPED_PRIORITY as BUMPED_PRIORITY,
)
from apps.runs.models.run import (
    CONCURRENCY_KEY_MAX_LENGTH as CONCURRENCY_KEY_MAX_LENGTH,
)
from apps.runs.models.run import (
    IDEMPOTENCY_KEY_MAX_LENGTH as IDEMPOTENCY_KEY_MAX_LENGTH,
)
from apps.runs.models.run import (
    MAX_ATTEMPTS_LIMIT as MAX_ATTEMPTS_LIMIT,
)
from apps.runs.models.run import (
    PRIORITY_RANGE as PRIORITY_RANGE,
)
from apps.runs.models.run import (
    QUEUE_MAX_LENGTH as QUEUE_MAX_LENGTH,
)
from apps.runs.models.run import (
    TAG_MAX_LENGTH as TAG_MAX_LENGTH,
)
from apps.runs.models.run import (
    TAGS_LIMIT as TAGS_LIMIT,
)
from apps.runs.models.run import (
    IdempotencyKey as IdempotencyKey,
)
from apps.runs.models.run import (
    Run as Run,
)
from apps.runs.models.run import (
    RunQuerySet as RunQuerySet,
)
from apps.runs.models.run import (
    RunValue as RunValue,
)
from apps.runs.models.task import (
    CONCURRENCY_LIMIT as CONCURRENCY_LIMIT,
)
from apps.runs.models.task import (
    TASK_ID_MAX_LENGTH as TASK_ID_MAX_LENGTH,
)
from apps.runs.models.task import (
    Deployment as Deployment,
)
from apps.runs.models.task import (
    Task as Task,
)
from apps.runs.models.task import (
    TaskControl as TaskControl,
)
from apps.runs.models.task import (
    TaskVersion as TaskVersion,
)
from apps.runs.models.variable import Variable as Variable
