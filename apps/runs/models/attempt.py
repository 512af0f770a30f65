"""The tries at a run, each under a lease of its own."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.runs.models.run import Run
from apps.runs.models.task import Deployment
from apps.runs.states import Outcome
from apps.storage.fields import ForgivingDecoder
from apps.storage.times import stored_times


class Attempt(models.Model):
    """One try at a run under one lease; keeps its token so that a late repeat gets its old answer."""

    # No constraints in the database: a claim writes both from rows that it holds, and checking them costs more than all
    # else of the row.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts", db_index=False, db_constraint=False)
    number = models.PositiveIntegerField()
    deployment = models.ForeignKey(
        Deployment,
        null=True,
        on_delete=models.PROTECT,
        related_name="attempts",
        db_index=False,
        db_constraint=False,
    )
    token = models.BinaryField(max_length=16)
    worker_id = models.UUIDField()
    poll_id = models.UUIDField(help_text="The poll whose answer carried this claim.")
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True, help_text="Empty while it is alive.")
    is_confirmed = models.BooleanField(default=False, help_text="The worker said that the claim reached it.")
    container = models.CharField(max_length=128, blank=True)
    start_kind = models.CharField(max_length=8, blank=True)
    resumed_from = models.CharField(max_length=200, null=True)  # noqa: DJ001 - null means "from the start"
    exit_code = models.SmallIntegerField(null=True)
    peak_memory_bytes = models.BigIntegerField(null=True)
    error = models.JSONField(null=True, decoder=ForgivingDecoder)
    answer = models.JSONField(
        null=True, decoder=ForgivingDecoder, help_text="What the worker was told when it ended the attempt."
    )
    claimed_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, help_text="When the task's process began.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        # Without a condition: one that names the outcome would keep the end of an attempt from being a HOT update.
        indexes = [models.Index(fields=["poll_id"], name="attempt_of_poll_idx")]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="attempt_number_is_unique"),
            models.CheckConstraint(
                name="attempt_is_finished_with_its_outcome",
                condition=(Q(outcome="") & Q(finished_at__isnull=True))
                | (~Q(outcome="") & Q(finished_at__isnull=False)),
            ),
            models.CheckConstraint(name="attempt_time_is_a_stored_one", condition=stored_times("started_at")),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"
