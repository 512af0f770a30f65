"""Each system check on a bad and on a good combination; the ids are part of the interface."""

import pytest
from pytest_django import Settings

from trigger_site import checks

LONG = "x" * 40


def ids(messages: list[object]) -> set[str]:
    return {str(getattr(message, "id", "")) for message in messages}


def test_development_needs_nothing(settings: Settings) -> None:
    settings.SECRET_KEY = settings.TRIGGER_WORKER_TOKEN = settings.DATABASE_URL = ""
    settings.ALLOWED_HOSTS = []

    assert ids(checks.check_production_has_its_secrets(None)) == set()


@pytest.mark.parametrize(
    ("name", "empty", "check_id"),
    [
        ("SECRET_KEY", "", "trigger.E001"),
        ("TRIGGER_WORKER_TOKEN", "", "trigger.E002"),
        ("DATABASE_URL", "", "trigger.E003"),
        ("ALLOWED_HOSTS", [], "trigger.E004"),
    ],
)
def test_production_without_a_part_is_refused(settings: Settings, name: str, empty: object, check_id: str) -> None:
    settings.IS_DEVELOPMENT = False
    settings.SECRET_KEY = settings.TRIGGER_WORKER_TOKEN = LONG
    settings.DATABASE_URL = "postgres://db/trigger"
    settings.ALLOWED_HOSTS = ["jobs.example.org"]
    assert ids(checks.check_production_has_its_secrets(None)) == set()

    setattr(settings, name, empty)

    assert ids(checks.check_production_has_its_secrets(None)) == {check_id}


def test_short_secrets_are_refused(settings: Settings) -> None:
    settings.SECRET_KEY, settings.TRIGGER_WORKER_TOKEN = "short", LONG
    assert ids(checks.check_secrets_are_long(None)) == {"trigger.E005"}

    settings.SECRET_KEY, settings.TRIGGER_WORKER_TOKEN = LONG, "short"
    assert ids(checks.check_secrets_are_long(None)) == {"trigger.E006"}


def test_other_databases_and_crossed_addresses_are_named(settings: Settings) -> None:
    settings.DATABASE_URL = settings.LISTEN_DATABASE_URL = "postgres://pooler/trigger"
    assert ids(checks.check_databases_are_postgres(None)) == set()

    settings.LISTEN_DATABASE_URL = "postgres://direct/other"
    assert ids(checks.check_databases_are_postgres(None)) == {"trigger.W001"}

    settings.DATABASE_URL = settings.LISTEN_DATABASE_URL = "mysql://db/trigger"
    assert ids(checks.check_databases_are_postgres(None)) == {"trigger.E007", "trigger.E008"}


def test_any_host_is_refused_in_production_only(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert ids(checks.check_any_host_is_not_allowed(None)) == set()

    settings.IS_DEVELOPMENT = False
    assert ids(checks.check_any_host_is_not_allowed(None)) == {"trigger.E009"}
