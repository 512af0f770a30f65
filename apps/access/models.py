"""API keys, the audit trail, the brakes on signing in. Users are Django's own; their roles are its groups.

What the roles may do is in `permissions.py`.
"""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class ApiKey(models.Model):
    """A credential for programs: found by its prefix, compared by the SHA-256 of the whole; the text is not stored."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        OPERATOR = "operator"
        ADMIN = "admin"

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True)
    secret_hash = models.BinaryField(max_length=32)
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="api_keys")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """Who did what to which thing, and why."""

    actor = models.CharField(max_length=150, help_text="User name or API key name; survives the deletion of either.")
    action = models.CharField(max_length=64, help_text="A verb of the product, as `runs.cancel`.")
    subject = models.CharField(max_length=128, help_text="The public id of the thing.")
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["subject", "-id"], name="audit_of_subject_idx")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"


class Brake(models.Model):
    """Counts one subject's recent failures, and until when its next try is refused (see `brake.py`).

    `subject` is a hash: names that people typed, passwords in the wrong field among them, are not kept.
    """

    subject = models.CharField(max_length=64, primary_key=True)
    failure_count = models.PositiveIntegerField(default=0, help_text="Since the last success or quiet hour.")
    refused_count = models.PositiveIntegerField(default=0, help_text="Tries refused unread since the last failure.")
    failed_at = models.DateTimeField(null=True)
    blocked_until = models.DateTimeField(null=True)
    known_until = models.DateTimeField(null=True, help_text="The account signed in from this peer not long ago.")
    touched_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["touched_at"], name="brake_idle_idx")]

    def __str__(self) -> str:
        return f"{self.subject}: {self.failure_count}"
