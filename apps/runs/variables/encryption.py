"""Encrypts values of variables: AES-256-GCM by a key derived from the site's secret key, bound to set and name.

A stored value is a nonce of 12 bytes, then ciphertext and tag. A value that was moved to another name, or changed, is
not read.
"""

import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE_BYTES = 12
PURPOSE = b"trigger-site variables v1"


class UnreadableValueError(Exception):
    """A stored value that none of the site's secret keys has encrypted."""


def encrypt(value: str, *, task_set: str, name: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(settings.SECRET_KEY).encrypt(nonce, value.encode(), _bound_to(task_set, name))


def decrypt(stored: bytes, *, task_set: str, name: str) -> str:
    """The value; tries the fallbacks of a secret key that was changed. Raises UnreadableValueError."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            plain = _cipher(secret).decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], _bound_to(task_set, name))
        except InvalidTag:
            continue
        return plain.decode()
    raise UnreadableValueError(
        f"The variable {name} was encrypted by another TRIGGER_SECRET_KEY: set it again, or name the earlier key in "
        "TRIGGER_SECRET_KEY_FALLBACKS."
    )


@lru_cache(maxsize=8)
def _cipher(secret: str) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode()))


def _bound_to(task_set: str, name: str) -> bytes:
    return f"{task_set}\0{name}".encode()
