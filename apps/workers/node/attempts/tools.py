"""The parts that all attempts of this node share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.workers.node.deployments import Deployments
from apps.workers.node.executors.base import Executor
from apps.workers.node.outbox import Outbox
from apps.workers.node.variables import VariableSource


@dataclass(slots=True)
class Tools:
    """The node's parts, as an attempt uses them."""

    deployments: Deployments
    variables: VariableSource
    executor: Executor
    outbox: Outbox
    load_checkpoints: Callable[..., Any]
    load_data: Callable[..., Any]
