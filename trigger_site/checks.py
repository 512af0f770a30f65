"""System checks on combinations of settings. Their ids are stable: people silence and search for them.

A single wrong value is refused where it is read, in `settings.py`.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.core.exceptions import ImproperlyConfigured

SHORTEST_SECRET = 32


@register(Tags.security)
def check_production_has_its_secrets(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.IS_DEVELOPMENT:
        return []
    needed = {
        "trigger.E001": ("TRIGGER_SECRET_KEY", _secret_key(), "a random text of at least 32 characters"),
        "trigger.E002": (
            "TRIGGER_WORKER_TOKEN",
            settings.TRIGGER_WORKER_TOKEN,
            "a random text of at least 32 characters",
        ),
        "trigger.E003": ("TRIGGER_DATABASE_URL", settings.DATABASE_URL, "postgres://user:password@host:5432/name"),
        "trigger.E004": (
            "TRIGGER_ALLOWED_HOSTS",
            settings.ALLOWED_HOSTS,
            "the host names that people use, separated by commas",
        ),
    }
    return [
        Error(f"{name} is not set, and TRIGGER_ENV is production.", hint=f"Set {name} to {hint}.", id=check_id)
        for check_id, (name, value, hint) in needed.items()
        if not value
    ]


@register(Tags.security)
def check_secrets_are_long(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    secrets = {
        "trigger.E005": ("TRIGGER_SECRET_KEY", _secret_key()),
        "trigger.E006": ("TRIGGER_WORKER_TOKEN", settings.TRIGGER_WORKER_TOKEN),
    }
    return [
        Error(f"{name} has fewer than {SHORTEST_SECRET} characters.", hint="Generate a longer random one.", id=check_id)
        for check_id, (name, value) in secrets.items()
        if value and len(value) < SHORTEST_SECRET
    ]


@register(Tags.database)
def check_databases_are_postgres(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    urls = {
        "trigger.E007": ("TRIGGER_DATABASE_URL", settings.DATABASE_URL),
        "trigger.E008": ("TRIGGER_LISTEN_DATABASE_URL", settings.LISTEN_DATABASE_URL),
    }
    found: list[CheckMessage] = [
        Error(f"{name} does not name a PostgreSQL database.", hint="Begin it with postgres://", id=check_id)
        for check_id, (name, url) in urls.items()
        if url and urlsplit(url).scheme not in ("postgres", "postgresql")
    ]
    if _database_name(settings.DATABASE_URL) != _database_name(settings.LISTEN_DATABASE_URL):
        found.append(
            Warning(
                "TRIGGER_LISTEN_DATABASE_URL names a different database than TRIGGER_DATABASE_URL.",
                hint="It must lead to the same database, but without the pooler.",
                id="trigger.W001",
            )
        )
    return found


@register(Tags.security)
def check_any_host_is_not_allowed(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.IS_DEVELOPMENT or "*" not in settings.ALLOWED_HOSTS:
        return []
    hint = "Name your hosts in TRIGGER_ALLOWED_HOSTS: sockets are accepted only from these origins."
    return [Error("TRIGGER_ALLOWED_HOSTS allows any host in production.", hint=hint, id="trigger.E009")]


def _secret_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # Django's error for an empty one, without our hint
        return ""


def _database_name(url: str) -> str:
    return urlsplit(url).path.strip("/")
