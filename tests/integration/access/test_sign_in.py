"""One-time sign-in links: who they sign in, and when they die."""

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.tokens import default_token_generator
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from apps.access.sign_in import sign_in_link, sign_in_tokens, user_of_link
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return make_user("admin")


def parts(link: str) -> tuple[str, str]:
    uid, token = link.rstrip("/").split("/")[-2:]
    return uid, token


def test_link_names_its_user(user: User) -> None:
    link = sign_in_link(user, "http://127.0.0.1:8000/")

    assert link.startswith("http://127.0.0.1:8000/sign-in/")
    assert user_of_link(*parts(link)) == user


def test_link_dies_with_the_next_sign_in(user: User) -> None:
    link = sign_in_link(user, "http://127.0.0.1:8000")
    update_last_login(None, user)

    assert user_of_link(*parts(link)) is None


def test_link_dies_with_time(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    link = sign_in_link(user, "http://127.0.0.1:8000")
    later = datetime.now() + timedelta(hours=12, seconds=5)  # noqa: DTZ005 - as Django's own
    monkeypatch.setattr(sign_in_tokens, "_now", lambda: later)

    assert user_of_link(*parts(link)) is None


def test_link_of_an_inactive_user_is_dead(user: User) -> None:
    link = sign_in_link(user, "http://127.0.0.1:8000")
    user.is_active = False
    user.save()

    assert user_of_link(*parts(link)) is None


def test_token_signs_in_nobody_else(user: User) -> None:
    _, token = parts(sign_in_link(user, "http://127.0.0.1:8000"))
    other = urlsafe_base64_encode(force_bytes(make_user("viewer").pk))

    assert user_of_link(other, token) is None


@pytest.mark.parametrize("uid", ["", "!", "AAAA", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "LTE", "w7w"])
def test_nonsense_is_nobody(user: User, uid: str) -> None:
    assert user_of_link(uid, sign_in_tokens.make_token(user)) is None


def test_password_reset_tokens_do_not_sign_in(user: User) -> None:
    uid = urlsafe_base64_encode(force_bytes(user.pk))

    assert user_of_link(uid, default_token_generator.make_token(user)) is None
