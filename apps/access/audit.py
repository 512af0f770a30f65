"""The audit trail: who did what to which thing. Written in the transaction of the deed, so neither is there alone."""

from collections.abc import Iterable
from typing import Any

from apps.access.models import AuditEntry
from apps.access.permissions import Actor

NAME_MAX_LENGTH = 150


def record(actor: Actor, action: str, subject: str, **details: Any) -> AuditEntry:
    """`subject` is a public id; `details` are JSON values that a person reads, never secrets or payloads."""
    return AuditEntry.objects.create(
        actor=actor.name[:NAME_MAX_LENGTH], action=action, subject=subject, details=details
    )


def record_many(actor: Actor, action: str, subjects: Iterable[str], **details: Any) -> None:
    """The same deed done to each of these, an entry for each."""
    name = actor.name[:NAME_MAX_LENGTH]
    AuditEntry.objects.bulk_create(
        [AuditEntry(actor=name, action=action, subject=subject, details=details) for subject in subjects]
    )
