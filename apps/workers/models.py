"""Worker nodes as the coordinators know them, and the pulse that tells them when the database was away."""

from django.db import models
from django.db.models.functions import Now

from apps.storage.ids import public_id


class Worker(models.Model):
    """One start of a worker process; a restarted worker is a new row."""

    id = models.UUIDField(primary_key=True, editable=False, help_text="Chosen by the worker at its start.")
    name = models.CharField(max_length=128)
    executor = models.CharField(max_length=16)
    executor_note = models.TextField(blank=True, help_text="Why this executor was taken, in the worker's words.")
    concurrency = models.PositiveIntegerField()
    protocol_version = models.CharField(max_length=16)
    started_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    suspected_at = models.DateTimeField(null=True, help_text="When its connection broke; any contact clears it.")
    leases_until = models.DateTimeField(
        null=True, help_text="None of its leases ends before: it named them when they could not be renewed."
    )
    stopped_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @property
    def public_id(self) -> str:
        return public_id("wrk", self.id)


class Pulse(models.Model):
    """One row recording when a coordinator last reached the database, so that an outage ends no lease."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    beat_at = models.DateTimeField(db_default=Now())
    resumed_at = models.DateTimeField(null=True, help_text="When the database came back after a silence.")

    class Meta:
        constraints = [models.CheckConstraint(name="pulse_is_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"pulse at {self.beat_at}"
