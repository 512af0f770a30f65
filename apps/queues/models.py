"""Queues with what people have set for them, and the state of rate limits.

A run names its queue; no row belongs to one.
"""

from django.db import models
from django.db.models.functions import Now

from apps.runs.models import CONCURRENCY_KEY_MAX_LENGTH, QUEUE_MAX_LENGTH, Run
from apps.storage.times import stored_times

RATE_LIMIT_MAX_LENGTH = 16


class Queue(models.Model):
    """What is set for a named line; a queue without a row has no limits."""

    name = models.CharField(primary_key=True, max_length=QUEUE_MAX_LENGTH)
    is_paused = models.BooleanField(default=False)
    max_concurrency = models.PositiveIntegerField(null=True, help_text="Runs of it that run at the same time.")
    rate_limit = models.CharField(max_length=RATE_LIMIT_MAX_LENGTH, blank=True, help_text="As `100/m`; empty: none.")
    max_depth = models.PositiveIntegerField(
        null=True, help_text="Pending and delayed runs; a trigger beyond is refused."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name


class RateLimit(models.Model):
    """The state of one rate limit: when its next run is due if all come evenly (GCRA's theoretical arrival time).

    A row whose time has passed says no more than no row.
    """

    class Scope(models.TextChoices):
        QUEUE = "queue"
        TASK = "task"
        KEY = "key"

    scope = models.CharField(max_length=8, choices=Scope)
    name = models.CharField(max_length=QUEUE_MAX_LENGTH, help_text="The queue's name or the task's id.")
    concurrency_key = models.CharField(max_length=CONCURRENCY_KEY_MAX_LENGTH, blank=True)
    arrives_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "name", "concurrency_key"], name="rate_limit_is_unique"),
            models.CheckConstraint(name="rate_limit_time_is_a_stored_one", condition=stored_times("arrives_at")),
        ]
        indexes = [models.Index(fields=["arrives_at"], name="rate_limit_age_idx")]

    def __str__(self) -> str:
        return f"{self.scope} {self.name} {self.concurrency_key}".rstrip()


class DeadLetter(Run):
    """A run that failed for good and waits for a person, as Django's admin lists them. Its verbs are in `queues`."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "dead letter"
