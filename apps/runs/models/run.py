"""Runs with their chainable filters, their values, and the idempotency keys that stand for them.

Narrow on purpose: what every claim reads is in `Run`, the rest is in `RunValue`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.runs.models.task import Deployment, Task
from apps.runs.states import DUE_STATES, FINAL_STATES, PASSED_STATES, RunState
from apps.storage.fields import ForgivingDecoder, ValueField
from apps.storage.ids import public_id, uuid7
from apps.storage.times import stored_times

QUEUE_MAX_LENGTH = 128
CONCURRENCY_KEY_MAX_LENGTH = 256
PRIORITY_RANGE = (-100, 100)
BUMPED_PRIORITY = 32_767
"""Above every priority that a trigger may ask for."""

MAX_ATTEMPTS_LIMIT = 250
TAGS_LIMIT = 10
TAG_MAX_LENGTH = 64
IDEMPOTENCY_KEY_MAX_LENGTH = 256


class RunQuerySet(models.QuerySet["Run"]):
    def pending(self) -> Self:
        return self.filter(state=RunState.PENDING)

    def running(self) -> Self:
        return self.filter(state=RunState.RUNNING)

    def final(self) -> Self:
        return self.filter(state__in=FINAL_STATES)

    def unfinished(self) -> Self:
        return self.exclude(state__in=FINAL_STATES)

    def dead_letters(self) -> Self:
        return self.filter(state=RunState.DEAD_LETTER)

    def due(self, now: datetime) -> Self:
        return self.filter(state__in=DUE_STATES, due_at__lte=now)

    def for_task(self, task_id: str) -> Self:
        return self.filter(task_id=task_id)

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__contains=[tag]).exclude(tags=[])  # the second term is the index's condition

    def newest_first(self) -> Self:
        return self.order_by("-id")

    def with_deployments(self) -> Self:
        """With the run's own deployment and its task's newest one, without loading the archives."""
        found = self.select_related("deployment", "task__deployment")
        return found.defer("deployment__archive", "task__deployment__archive")


class Run(models.Model):
    """One triggering of a task. Narrow on purpose: its values are in `RunValue`, its attempts in `Attempt`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="runs", db_index=False)
    deployment = models.ForeignKey(
        Deployment,
        null=True,
        on_delete=models.PROTECT,
        related_name="runs",
        db_index=False,
        db_constraint=False,
        help_text="Bound at the first claim.",
    )
    state = models.CharField(max_length=16, choices=RunState, default=RunState.PENDING)
    queue = models.CharField(max_length=QUEUE_MAX_LENGTH)
    priority = models.SmallIntegerField(default=0)
    concurrency_key = models.CharField(max_length=CONCURRENCY_KEY_MAX_LENGTH, blank=True)
    tags = ArrayField(models.CharField(max_length=TAG_MAX_LENGTH), default=list, size=TAGS_LIMIT)
    idempotency_key = models.CharField(max_length=IDEMPOTENCY_KEY_MAX_LENGTH, blank=True)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    attempt_count = models.PositiveIntegerField(default=0)
    progress_attempt = models.PositiveIntegerField(
        default=0, help_text="The last attempt that saved a new checkpoint: kills before it no longer count as poison."
    )
    budget_base = models.PositiveIntegerField(default=0, help_text="Attempts up to this number no longer count.")
    excused_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Attempts since then that ended without using up one of `max_attempts`."
    )
    token = models.BinaryField(max_length=16, null=True, help_text="The attempt token, while an attempt is alive.")
    worker_id = models.UUIDField(null=True)
    lease_end = models.DateTimeField(null=True)
    is_cancel_requested = models.BooleanField(default=False)
    has_run_out_of_memory = models.BooleanField(
        default=False, help_text="Later attempts get the task's larger memory limit."
    )
    due_at = models.DateTimeField(null=True, help_text="When a delayed or retrying run becomes pending.")
    expires_at = models.DateTimeField(null=True, help_text="A run that has not started by then never does.")
    replay_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="replays", db_index=False)
    replay_from = models.CharField(
        max_length=200, blank=True, help_text="The checkpoint that this replay starts after."
    )
    idempotency_scope = models.UUIDField(
        null=True, help_text="The run whose idempotency keys a replay uses; null: its own."
    )
    version = models.BigIntegerField(default=0, help_text="Grows with each state move; pages use it to order updates.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    dead_letter_seconds = models.FloatField(
        default=0.0, db_default=0.0, help_text="How long it was a dead letter before people requeued it."
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        indexes = [
            # The priority is negated so that one row comparison says what comes after a place in the lane.
            models.Index(
                "queue",
                "task",
                "concurrency_key",
                0 - F("priority"),
                "id",
                condition=Q(state="pending"),
                name="run_claim_idx",
            ),
            models.Index(fields=["queue"], condition=Q(state="delayed"), name="run_delayed_idx"),
            models.Index(
                fields=["queue", "task"],
                condition=Q(state="pending", deployment__isnull=False),
                name="run_bound_idx",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(state__in=["delayed", "pending"], expires_at__isnull=False),
                name="run_expiry_idx",
            ),
            models.Index(
                fields=["due_at"], condition=Q(state__in=["delayed", "retrying", "waiting"]), name="run_promote_idx"
            ),
            models.Index(fields=["worker_id"], condition=Q(state="running"), name="run_of_worker_idx"),
            models.Index(fields=["task", "-id"], name="run_of_task_idx"),
            # Without the states that every run passes through: indexing them would cost more than it finds.
            models.Index(fields=["state", "-id"], condition=~Q(state__in=PASSED_STATES), name="run_by_state_idx"),
            models.Index(fields=["replay_of"], condition=Q(replay_of__isnull=False), name="run_replays_idx"),
            GinIndex(fields=["tags"], condition=~Q(tags=[]), name="run_tags_idx"),
        ]
        constraints = [
            models.CheckConstraint(
                name="run_is_finished_in_final_states",
                condition=Q(state__in=sorted(FINAL_STATES), finished_at__isnull=False)
                | (~Q(state__in=sorted(FINAL_STATES)) & Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="run_holds_a_lease_while_running",
                condition=Q(state="running", token__isnull=False, lease_end__isnull=False, worker_id__isnull=False)
                | (~Q(state="running") & Q(token__isnull=True, lease_end__isnull=True, worker_id__isnull=True)),
            ),
            models.CheckConstraint(
                name="run_has_a_due_time_while_it_waits_for_one",
                condition=~Q(state__in=["delayed", "retrying"]) | Q(due_at__isnull=False),
            ),
            models.CheckConstraint(name="run_times_are_stored_ones", condition=stored_times("due_at", "expires_at")),
        ]

    is_duplicate = False
    """Set on what a trigger returns: the run already existed under its idempotency key. Not a column."""

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return public_id("run", self.id)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def attempt_limit(self) -> int:
        """The highest number that its attempts can reach; grows with each attempt that does not count."""
        return self.budget_base + self.excused_count + self.max_attempts

    @property
    def seconds(self) -> float | None:
        """From its first start to its end, without the time as a dead letter before a requeue; None while it lasts."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds() - self.dead_letter_seconds)

    @property
    def live_since(self) -> datetime | None:
        """Since when it has been running, as if it had never been a dead letter; None before its start and after its
        end."""
        if self.started_at is None or self.finished_at is not None:
            return None
        return self.started_at + timedelta(seconds=self.dead_letter_seconds)


class RunValue(models.Model):
    """What a run was given and what it returned, kept out of the hot row."""

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="value")
    payload = ValueField()
    output = ValueField(null=True)
    error = models.JSONField(
        null=True, decoder=ForgivingDecoder, help_text="`{type, message, stack}` of the last failed attempt."
    )
    metadata: Any = models.JSONField(
        null=True, decoder=ForgivingDecoder, help_text="What its trigger said of it; an object."
    )
    traceparent = models.CharField(max_length=55, blank=True, help_text="W3C trace context of its trigger.")
    note = models.TextField(blank=True, help_text="Why a person discarded it.")

    class Meta:
        db_table = "runs_value"

    def __str__(self) -> str:
        return f"values of {self.run_id}"


class IdempotencyKey(models.Model):
    """Which run a trigger's idempotency key stands for, whatever becomes of it, until the key expires."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=IDEMPOTENCY_KEY_MAX_LENGTH)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    body_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the payload and the options.")
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "key"], name="idempotency_key_is_unique"),
            models.CheckConstraint(name="idempotency_key_time_is_a_stored_one", condition=stored_times("expires_at")),
        ]
        indexes = [models.Index(fields=["expires_at"], name="idempotency_key_expiry_idx")]

    def __str__(self) -> str:
        return f"{self.key} of {self.task_id}"
