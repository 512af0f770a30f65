"""Checkpoints: data saved under a key at a boundary of a run. Written by `store.py` alone."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.runs.fields import ValueField
from apps.runs.models import Run

KEY_MAX_LENGTH = 200


class Checkpoint(models.Model):
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints", db_index=False)
    key = models.CharField(max_length=KEY_MAX_LENGTH)
    index = models.PositiveIntegerField(help_text="Commit order within the run, from 0.")
    data = ValueField()
    carried = ValueField(null=True, help_text="Names restored from elsewhere whose value had changed by this point.")
    binds = ArrayField(models.TextField(), default=list, help_text="Names that a resume binds from `data`.")
    content_hash = models.BinaryField(max_length=32, help_text="SHA-256 over data, carried and binds.")
    size_bytes = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(help_text="The attempt that saved it; 0 where a replay brought it along.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="checkpoint_key_is_unique"),
            models.UniqueConstraint(fields=["run", "index"], name="checkpoint_index_is_unique"),
        ]
        ordering = ["run", "index"]

    def __str__(self) -> str:
        return f"{self.key} of {self.run_id}"
