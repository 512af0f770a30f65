"""API keys: how they are stored, found, refused and revoked."""

import hashlib
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from apps.access.errors import KeyRefused
from apps.access.keys import create_key, find_key, revoke_key
from apps.access.models import ApiKey, AuditEntry
from apps.access.permissions import Actor
from tests.factories import make_key, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.sql]


def test_text_is_stored_nowhere_but_its_hash_is() -> None:
    key, text = create_key(name="deploys", role="admin")

    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM access_apikey k WHERE id = %s", [key.pk])
        stored = cursor.fetchone()[0]
    secret = text.split("_")[2]
    assert len(secret) == 52
    assert text.startswith(f"tr_{key.prefix}_")
    assert secret not in stored
    assert hashlib.sha256(text.encode()).hexdigest() in stored


def test_keys_differ() -> None:
    assert len({create_key(name="k", role="viewer")[1] for _ in range(20)}) == 20


def test_text_finds_its_key_in_one_query() -> None:
    key, text = create_key(name="k", role="operator")
    find_key(text)

    with CaptureQueriesContext(connection) as queries:
        found = find_key(text)

    assert found == key
    assert found.role == "operator"
    assert len(queries) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ("a" if text[-1] != "a" else "b"),
        lambda text: text.upper(),
        lambda text: text + "x",
        lambda text: text.replace("tr_", "xx_"),
        lambda text: text.split("_")[1],
        lambda _: "",
        lambda _: "tr_",
        lambda _: "tr__",
        lambda _: "tr_\x00_\x00",
        lambda _: "tr_ü_\udc80",
    ],
)
def test_any_other_text_is_refused(change: object) -> None:
    text = make_key()

    with pytest.raises(KeyRefused, match="unknown"):
        find_key(change(text))  # type: ignore[operator]


def test_right_prefix_with_another_secret_is_refused() -> None:
    first, second = make_key(), make_key()
    mixed = "_".join([*first.split("_")[:2], second.split("_")[2]])

    with pytest.raises(KeyRefused, match="unknown"):
        find_key(mixed)


def test_expired_key_is_refused_and_a_later_one_is_not() -> None:
    _, expired = create_key(name="old", role="admin", expires_in=timedelta(seconds=-1))
    _, living = create_key(name="new", role="admin", expires_in=timedelta(hours=1))

    with pytest.raises(KeyRefused, match="'old' has expired"):
        find_key(expired)
    assert find_key(living).name == "new"


def test_revoked_key_is_refused_at_once() -> None:
    key, text = create_key(name="lost", role="admin")
    find_key(text)
    actor = Actor.of_console("test")

    assert revoke_key(key, actor=actor)
    assert not revoke_key(key, actor=actor)

    with pytest.raises(KeyRefused, match="'lost' was revoked"):
        find_key(text)


def test_key_of_an_inactive_user_is_refused() -> None:
    user = make_user("operator")
    _, text = create_key(name="theirs", role="operator", user=user)
    find_key(text)
    user.is_active = False
    user.save()

    with pytest.raises(KeyRefused, match="not active"):
        find_key(text)


def test_use_is_recorded_at_most_once_a_minute() -> None:
    key, text = create_key(name="k", role="viewer")

    find_key(text)
    key.refresh_from_db()
    first_use = key.last_used_at
    assert first_use is not None
    find_key(text)
    key.refresh_from_db()
    assert key.last_used_at == first_use

    ApiKey.objects.update(last_used_at=Now() - timedelta(seconds=61))
    find_key(text)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first_use


def test_making_and_revoking_leave_entries_without_the_secret() -> None:
    admin = Actor.of_user(make_user("admin", username="ada"))

    key, text = create_key(name="ci", role="operator", actor=admin)
    revoke_key(key, actor=admin)

    entries = list(AuditEntry.objects.order_by("id").values_list("actor", "action", "subject"))
    assert entries == [("ada", "keys.create", key.prefix), ("ada", "keys.revoke", key.prefix)]
    details = AuditEntry.objects.earliest("id").details
    assert details == {"name": "ci", "role": "operator"}
    assert text not in str(details)
