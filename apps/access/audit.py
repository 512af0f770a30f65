"""The audit trail: who did what to which thing. Entries share the action's transaction, so neither exists alone."""

from collections.abc import Iterable
from typing import Any

from apps.access.models import AuditEntry
from apps.access.permissions import Actor

NAME_MAX_LENGTH = 150


def record(actor: Actor, action: str, subject: str, **details: Any) -> AuditEntry:
    """Adds an entry. `subject` is a public id; `details` are JSON values for people, never secrets or payloads."""
    return AuditEntry.objects.create(
        actor=actor.name[:NAME_MAX_LENGTH], action=action, subject=subject, details=details
    )


def record_many(actor: Actor, action: str, subjects: Iterable[str], **details: Any) -> None:
    """Adds one entry per subject for the same action."""
    name = actor.name[:NAME_MAX_LENGTH]
    AuditEntry.objects.bulk_create(
        [AuditEntry(actor=name, action=action, subject=subject, details=details) for subject in subjects]
    )
