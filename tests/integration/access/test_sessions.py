"""Which sessions stand, asked for many at once; what ends sockets is in tests/integration/runs."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.permissions import Role
from apps.access.sessions import standing_sessions
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


def test_sessions_are_asked_for_together_and_name_their_users_roles() -> None:
    keys = {session_of(make_user(role)): role for role in ("viewer", "operator", "admin", "") for _ in range(3)}
    root = session_of(make_user("", is_superuser=True))

    with CaptureQueriesContext(connection) as queries:
        standing = standing_sessions([*keys, root, "no-such-session"])

    assert len(queries) == 3
    assert {key: set(actor.roles) for key, actor in standing.items()} == {
        root: {Role.ADMIN},
        **{key: {Role(role)} if role else set() for key, role in keys.items()},
    }


def test_a_session_nobody_signed_in_by_stands_for_nobody() -> None:
    client = Client()
    client.session.save()
    anonymous = client.session
    anonymous["x"] = 1
    anonymous.save()

    assert standing_sessions([str(anonymous.session_key)]) == {}
    assert standing_sessions([]) == {}
