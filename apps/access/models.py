"""API keys and the audit trail. Users are Django's own; their roles are its groups (see `permissions.py`)."""

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
