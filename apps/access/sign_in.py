"""One-time sign-in links: signed tokens that die with the user's next sign-in, or with time. Nothing is stored."""

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode


class SignInTokens(PasswordResetTokenGenerator):
    """Their own salt keeps them from resetting passwords, and password reset tokens from signing in.

    The hash covers `last_login`, so that signing in, by the link or otherwise, ends every link of the user.
    """

    key_salt = "apps.access.sign_in"


sign_in_tokens = SignInTokens()


def sign_in_link(user: User, base_url: str) -> str:
    """The address that signs the user in once; `base_url` is as `http://127.0.0.1:8000`."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("access:sign-in-link", args=[uid, sign_in_tokens.make_token(user)])
    return base_url.rstrip("/") + path


def user_of_link(uidb64: str, token: str) -> User | None:
    """The active user whom the link signs in; None where it is false, used or too old."""
    try:
        pk = int(urlsafe_base64_decode(uidb64))
    except (ValueError, OverflowError):
        return None
    user = User.objects.filter(pk=pk, is_active=True).first() if 0 < pk < 2**31 else None
    return user if user is not None and sign_in_tokens.check_token(user, token) else None
