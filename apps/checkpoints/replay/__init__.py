"""Replay: a new run from any checkpoint of another. The verb and what it takes, for whoever is inside Django."""

from apps.checkpoints.replay.create import replay as replay
from apps.checkpoints.replay.plan import UNCHANGED as UNCHANGED
from apps.checkpoints.replay.plan import ReplayRequest as ReplayRequest
