"""Tracks signed-in sessions for what outlives its request: a socket must end when its session does."""

from collections.abc import Collection

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models.functions import Now
from django.utils.crypto import constant_time_compare

from apps.access.permissions import Actor

SESSIONS_CHANNEL = "trigger_sessions"
"""Notified when sessions end; without a payload, because each listener checks its own sessions again."""


def standing_sessions(session_keys: Collection[str]) -> dict[str, Actor]:
    """Returns who is signed in by each session; missing sessions have ended.

    A session ends by sign-out, expiry or a password change, or because its user is gone or inactive. Takes three
    queries, however many keys there are.
    """
    rows = Session.objects.filter(session_key__in=session_keys, expire_date__gt=Now())
    contents = {row.session_key: row.get_decoded() for row in rows}
    user_ids = {content[SESSION_KEY] for content in contents.values() if SESSION_KEY in content}
    users = {
        str(user.pk): user for user in User.objects.filter(pk__in=user_ids, is_active=True).prefetch_related("groups")
    }
    actors = {}
    for key, content in contents.items():
        user = users.get(content.get(SESSION_KEY, ""))
        if user is not None and _has_hash(user, content.get(HASH_SESSION_KEY, "")):
            actors[key] = Actor.of_user(user)
    return actors


def announce_ended() -> None:
    """Tells all web processes, on commit, that a session ended; processes that miss it find out by polling."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [SESSIONS_CHANNEL])


def _has_hash(user: User, session_hash: str) -> bool:
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return any(constant_time_compare(session_hash, each) for each in hashes)
