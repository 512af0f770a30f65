"""What tasks write while they run, line by line."""

from typing import Any

from django.db import models

from apps.runs.models.run import Run
from apps.storage.fields import ForgivingDecoder
from apps.storage.ids import uuid7
from apps.storage.times import stored_times


class LogLine(models.Model):
    """One line that a task wrote, in the order (attempt, sequence)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # No constraint in the database: its check would lock the run, and a run that others hold would hold up a whole
    # batch.
    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="log_lines", db_index=False, db_constraint=False
    )
    attempt = models.PositiveIntegerField()
    sequence = models.PositiveIntegerField()
    level = models.CharField(max_length=8)
    source = models.CharField(max_length=8, help_text="log, stdout, stderr or system")
    message = models.TextField()
    fields: Any = models.JSONField(null=True, decoder=ForgivingDecoder)
    logged_at = models.DateTimeField(help_text="By the clock of the worker's node.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "attempt", "sequence"], name="log_line_is_unique"),
            models.CheckConstraint(name="log_line_time_is_a_stored_one", condition=stored_times("logged_at")),
        ]

    def __str__(self) -> str:
        return self.message[:80]
