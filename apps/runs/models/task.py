"""Tasks as deployments declare them, and what people have set for them by hand."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from apps.storage.fields import ListField, ObjectField
from apps.storage.ids import public_id, uuid7
from apps.storage.times import stored_times

TASK_ID_MAX_LENGTH = 128
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
    lock = models.TextField(  # noqa: DJ001 - null means "never locked"
        null=True, help_text="What workers install, each package with one version and its hashes; empty: nothing."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task_set", "version"], name="deployment_version_is_unique")]

    def __str__(self) -> str:
        return f"{self.task_set} v{self.version}"

    @property
    def public_id(self) -> str:
        return public_id("dep", self.id)


class Task(models.Model):
    """A task as declared by the newest deployment that has it. The primary key is the task's own stable id."""

    id = models.CharField(primary_key=True, max_length=TASK_ID_MAX_LENGTH)
    task_set = models.CharField(max_length=128)
    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="current_tasks")
    is_retired = models.BooleanField(default=False, help_text="Missing from the newest deployment of its task set.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.id


class TaskControl(models.Model):
    """What people have set for a task by hand, and its recent failures; a task without a row has neither.

    A limit set by hand overrides the one that the newest deployment declares until it is null again.
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
    probe_run = models.UUIDField(null=True, help_text="The last run that was claimed while the task cooled down.")
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
        help_text="Hashes of the source before, between and after the resume points; empty if an SDK sent none.",
    )
    file = models.CharField(max_length=512)
    line = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["deployment", "task_id"], name="task_version_is_unique")]

    def __str__(self) -> str:
        return f"{self.task_id} in {self.deployment_id}"
