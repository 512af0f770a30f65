"""The kinds of write that a coordinator takes. To add one: a file next to this one and a line here; see `base.py`."""

from typing import Any

from trigger_site.coordinator.kinds.base import Kind
from trigger_site.coordinator.kinds.checkpoints import CHECKPOINT
from trigger_site.coordinator.kinds.finishes import FINISH
from trigger_site.coordinator.kinds.logs import LOG
from trigger_site.coordinator.kinds.starts import START

KINDS: list[Kind[Any]] = [START, CHECKPOINT, LOG, FINISH]
