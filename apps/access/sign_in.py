"""Signs users in: one-time links (signed tokens that expire with the user's next sign-in, or in time) and sessions."""

import logging

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from apps.access import audit
from apps.access.peers import peer_of
from apps.access.permissions import Actor

logger = logging.getLogger(__name__)


class SignInTokens(PasswordResetTokenGenerator):
    """A salt of its own keeps these tokens from resetting passwords, and password reset tokens from signing in.

    The hash covers `last_login`, so that any sign-in, by link or otherwise, ends all of the user's links.
    """

    key_salt = "apps.access.sign_in"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        # Django's own uses whole seconds: a link used within a second of a sign-in would stay valid.
        exact = "" if user.last_login is None else user.last_login.isoformat()
        return f"{super()._make_hash_value(user, timestamp)}{exact}"


sign_in_tokens = SignInTokens()


def sign_in_link(user: User, base_url: str) -> str:
    """Returns the address that signs the user in once; `base_url` is like `http://127.0.0.1:8000`."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("access:sign-in-link", args=[uid, sign_in_tokens.make_token(user)])
    return base_url.rstrip("/") + path


def user_of_link(uidb64: str, token: str) -> User | None:
    """Returns the active user the link would sign in; None if it is wrong, used or too old."""
    pk = _pk_of(uidb64)
    user = User.objects.filter(pk=pk, is_active=True).first() if pk else None
    return user if user is not None and sign_in_tokens.check_token(user, token) else None


def use_link(uidb64: str, token: str) -> User | None:
    """Like `user_of_link`, and ends the link: of several simultaneous callers exactly one gets the user."""
    pk = _pk_of(uidb64)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(pk=pk, is_active=True).first() if pk else None
        if user is None or not sign_in_tokens.check_token(user, token):
            return None
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
    return user


def begin_session(request: HttpRequest, user: User, *, by: str) -> None:
    """Signs the user in under a new session key; `by` is how they proved their identity: `password`, `link`."""
    login(request, user)
    peer = peer_of(request)
    audit.record(Actor.of_user(user), "sign_in.accept", user.get_username()[:128], peer=peer, by=by)
    logger.info("sign_in.accept user=%r peer=%s by=%s", user.get_username(), peer, by)


def _pk_of(uidb64: str) -> int:
    """Returns 0 if the text names nobody."""
    try:
        pk = int(urlsafe_base64_decode(uidb64))
    except (ValueError, OverflowError):
        return 0
    return pk if 0 < pk < 2**31 else 0
