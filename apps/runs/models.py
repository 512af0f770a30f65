"""Tasks with their controls, deployments, runs, their values, attempts and log lines.

State moves are in `lifecycle.py`, never here.
"""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.runs.querysets import RunQuerySet
from apps.runs.states import FINAL_STATES, PASSED_STATES, Outcome, RunState
from apps.storage.fields import ForgivingDecoder, ListField, ObjectField, ValueField
from apps.storage.ids import public_id, uuid7
from apps.storage.times import stored_times

TASK_ID_MAX_LENGTH = 128
QUEUE_MAX_LENGTH = 128
CONCURRENCY_KEY_MAX_LENGTH = 256
PRIORITY_RANGE = (-100, 100)
BUMPED_PRIORITY = 32_767
"""Beyond every priority that a trigger may ask for."""

MAX_ATTEMPTS_LIMIT = 250
TAGS_LIMIT = 10
TAG_MAX_LENGTH = 64
IDEMPOTENCY_KEY_MAX_LENGTH = 256
CONCURRENCY_LIMIT = 1_000_000


class Deployment(models.Model):
    """One built version of a task set; a run is pinned to the deployment that it started on."""

    class Kind(models.TextChoices):
        FOLDER = "folder"
        IMAGE = "image"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    task_set = models.CharField(max_length=128)
    version = models.PositiveIntegerField(help_text="Counts the deployments of the task set from 1.")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.FOLDER)
    image = models.CharField(max_length=512, blank=True, help_text="Image reference; empty for a folder deployment.")
    archive = models.BinaryField(null=True, help_text="The folder as a tar file; null for an image deployment.")
    content_hash = models.BinaryField(max_length=32, help_text="SHA-256 of the archive or of the image's digest.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task_set", "version"], name="deployment_version_is_unique")]

    def __str__(self) -> str:
        return f"{self.task_set} v{self.version}"

    @property
    def public_id(self) -> str:
        return public_id("dep", self.id)


class Task(models.Model):
    """A task as the newest deployment that has it declares it. The primary key is the task's own stable id."""

    id = models.CharField(primary_key=True, max_length=TASK_ID_MAX_LENGTH)
    task_set = models.CharField(max_length=128)
    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="current_tasks")
    is_retired = models.BooleanField(default=False, help_text="Missing from the newest deployment of its task set.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.id


class TaskControl(models.Model):
    """What people have set for a task by hand, and how it has failed lately; a task without a row has neither.

    A limit that is set stands before the one that the newest deployment declares, until it is null again.
    """

    task_id = models.CharField(primary_key=True, max_length=TASK_ID_MAX_LENGTH)
    is_paused = models.BooleanField(default=False)
    max_concurrency = models.PositiveIntegerField(null=True)
    max_concurrency_total = models.PositiveIntegerField(null=True)
    rate_limit = models.CharField(max_length=16, blank=True, help_text="As `100/m`; empty: as declared.")
    rate_limit_per_key = models.CharField(max_length=16, blank=True)
    failing_runs = ArrayField(
        models.UUIDField(), default=list, help_text="The runs that have failed since the last one completed."
    )
    cooling_until = models.DateTimeField(null=True, help_text="Before then no run of the task is claimed.")
    probe_run = models.UUIDField(null=True, help_text="The run that was claimed last while the task cooled down.")
    probe_until = models.DateTimeField(null=True, help_text="Until then it holds back the next one while it runs.")

    class Meta:
        db_table = "runs_taskcontrol"
        constraints = [
            models.CheckConstraint(name="task_control_time_is_a_stored_one", condition=stored_times("cooling_until"))
        ]

    def __str__(self) -> str:
        return f"controls of {self.task_id}"


class TaskVersion(models.Model):
    """A task as one deployment declares it: its options, payload schema and resume points."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="task_versions")
    task_id = models.CharField(max_length=TASK_ID_MAX_LENGTH)
    options: Any = ObjectField(default=dict)
    payload_schema: Any = ObjectField(default=dict, help_text="JSON Schema 2020-12 of the payload object.")
    resume_points: Any = ListField(default=list)
    segments: Any = ListField(
        default=list,
        help_text="Hashes of the source before, between and behind the resume points; empty where an SDK sent none.",
    )
    file = models.CharField(max_length=512)
    line = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["deployment", "task_id"], name="task_version_is_unique")]

    def __str__(self) -> str:
        return f"{self.task_id} in {self.deployment_id}"


class Run(models.Model):
    """One triggering of a task. Narrow on purpose: its values are in `RunValue`, its tries in `Attempt`."""

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
    budget_base = models.PositiveIntegerField(default=0, help_text="Attempts up to this number count no more.")
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

    objects = RunQuerySet.as_manager()

    class Meta:
        indexes = [
            # The priority is turned round so that one row comparison says what lies behind a place in the lane.
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
            # Not of the states that every run passes through: an entry for each of them would cost more than it finds.
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
    """Of what a trigger returned: the run was there, by its idempotency key. No column."""

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        return public_id("run", self.id)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES


class RunValue(models.Model):
    """What a run was given and what it gave back, apart from the hot row."""

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
    """Which run a trigger's idempotency key stands for, whatever became of it, until the key expires."""

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
