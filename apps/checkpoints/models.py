"""Checkpoints and the results of steps: data saved under a key of a run. Written by `store.py` and by replays."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.runs.models import Run
from apps.storage.fields import ValueField

KEY_MAX_LENGTH = 200


class Kind(models.TextChoices):
    CHECKPOINT = "checkpoint"
    STEP = "step"


class Checkpoint(models.Model):
    """What a run has saved under one key. Only the kind `checkpoint` is a point to resume from."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints", db_index=False)
    key = models.CharField(max_length=KEY_MAX_LENGTH)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CHECKPOINT, db_default=Kind.CHECKPOINT)
    index = models.PositiveIntegerField(help_text="Commit order within the run, from 0.")
    data = ValueField()
    carried = ValueField(null=True, help_text="Names restored from elsewhere whose value had changed by this point.")
    binds = ArrayField(models.TextField(), default=list, help_text="Names that a resume binds from `data`.")
    content_hash = models.BinaryField(max_length=32, help_text="SHA-256 over kind, data, carried and binds.")
    codec = models.PositiveSmallIntegerField(
        default=1, db_default=1, help_text="Version of the codec that wrote data and carried."
    )
    size_bytes = models.PositiveIntegerField()
    stored_bytes = models.BigIntegerField(
        null=True, help_text="Of the run's entries up to this one; null for one that is older than this count."
    )
    attempt = models.PositiveIntegerField(help_text="The attempt that saved it; 0 where a replay brought it along.")
    duration_seconds = models.FloatField(null=True, help_text="How long a step's function ran, its retries included.")
    is_edited = models.BooleanField(
        default=False, db_default=False, help_text="A person gave it this data, for a replay."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="checkpoint_key_is_unique"),
            models.UniqueConstraint(fields=["run", "index"], name="checkpoint_index_is_unique"),
        ]
        ordering = ["run", "index"]

    def __str__(self) -> str:
        return f"{self.key} of {self.run_id}"
