"""Creates, finds and revokes API keys. A key's text is shown once, at creation; the database holds its SHA-256.

The text is `tr_<prefix>_<secret>`: the prefix finds the row; the secret is 32 random bytes, so a fast hash suffices.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from apps.access import audit
from apps.access.errors import KeyRefused
from apps.access.models import ApiKey
from apps.access.permissions import Actor

SCHEME = "tr"
PREFIX_BYTES = 7
SECRET_BYTES = 32

NOTE_PAUSE_SECONDS = 10.0
_unnoted_until: dict[int, float] = {}
"""By key: until when its use is not noted, because noting it failed. At most one entry per key."""

logger = logging.getLogger(__name__)

FIND_KEY = (Path(__file__).parent / "sql" / "find_key.sql").read_text(encoding="utf-8")


def create_key(
    *, name: str, role: str, user: User | None = None, expires_in: timedelta | None = None, actor: Actor | None = None
) -> tuple[ApiKey, str]:
    """Creates a key; returns it and its text, which cannot be recovered. `actor` is its creator, else the console."""
    prefix = _random_letters(PREFIX_BYTES)
    text = f"{SCHEME}_{prefix}_{_random_letters(SECRET_BYTES)}"
    with transaction.atomic():
        key = ApiKey.objects.create(
            name=name,
            role=ApiKey.Role(role),
            user=user,
            prefix=prefix,
            secret_hash=_hash(text),
            expires_at=None if expires_in is None else Now() + expires_in,
        )
        audit.record(actor or Actor.of_console("create key"), "keys.create", prefix, name=name, role=key.role)
    return key, text


def find_key(text: str) -> ApiKey:
    """Returns the valid key with that text; raises KeyRefused. Notes its use at most once a minute."""
    scheme, _, rest = text.partition("_")
    prefix = rest.partition("_")[0]
    rows = ApiKey.objects.raw(FIND_KEY, {"prefix": prefix}) if scheme == SCHEME and prefix.isalnum() else ()
    key = next(iter(rows), None)
    if key is None or not hmac.compare_digest(_hash(text), bytes(key.secret_hash)):
        raise KeyRefused("The API key is unknown.")
    if key.revoked_at is not None:
        raise KeyRefused(f"The API key {key.name!r} was revoked.")
    judged = vars(key)
    if judged["is_expired"]:
        raise KeyRefused(f"The API key {key.name!r} has expired.")
    if judged["is_orphaned"]:
        raise KeyRefused(f"The user of the API key {key.name!r} is not active.")
    if judged["is_use_stale"]:
        _note_use(key)
    return key


def _note_use(key: ApiKey) -> None:
    """Skips the note if the key's row or table is held: no call waits for it or fails because of it."""
    if _unnoted_until.get(key.pk, 0.0) > time.monotonic():
        return
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now())
    except OperationalError as error:
        _unnoted_until[key.pk] = time.monotonic() + NOTE_PAUSE_SECONDS
        logger.warning("keys.note_use key=%s: %s", key.prefix, str(error).partition("\n")[0])


def revoke_key(key: ApiKey, *, actor: Actor) -> bool:
    """Ends the key at once; returns False if it was already revoked."""
    with transaction.atomic():
        is_revoked = bool(ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=Now()))
        if is_revoked:
            audit.record(actor, "keys.revoke", key.prefix, name=key.name)
    return is_revoked


def _random_letters(byte_count: int) -> str:
    return base64.b32encode(secrets.token_bytes(byte_count)).decode().rstrip("=").lower()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
