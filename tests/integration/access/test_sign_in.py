"""One-time sign-in links: who they sign in, and when they die."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.tokens import default_token_generator
from django.test import Client
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from apps.access.sign_in import sign_in_link, sign_in_tokens, user_of_link
from tests.callers import at_once
from tests.factories import make_user

pytestmark = [pytest.mark.django_db, pytest.mark.sql]


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


@pytest.mark.django_db(transaction=True)
def test_of_several_who_use_a_link_at_once_exactly_one_signs_in() -> None:
    for number in range(5):
        link = sign_in_link(make_user("viewer", username=f"user {number}"), "")

        statuses = at_once(8, lambda _, link=link: Client().post(link).status_code)  # type: ignore[misc]

        assert sorted(statuses) == [302] + [410] * 7


def test_link_dies_with_a_sign_in_of_the_same_second(user: User) -> None:
    moment = datetime(2026, 1, 1, 12, 0, 0, 100_000, UTC)
    User.objects.update(last_login=moment)
    user.refresh_from_db()
    link = sign_in_link(user, "http://127.0.0.1:8000")
    User.objects.update(last_login=moment + timedelta(milliseconds=1))

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
