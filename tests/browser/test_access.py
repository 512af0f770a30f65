"""Signing in and out as a browser shows it, and pages that the content policy must not break."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect

from apps.access.brake import PAIR_LIMIT
from tests.browser.conftest import SignIn
from tests.factories import make_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/docs",
        "/admin/",
        "/admin/queues/deadletter/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/user/{user}/change/",
        "/admin/auth/group/add/",
        "/admin/password_change/",
    ],
)
def test_the_policy_breaks_no_page(signed_in: Page, site: str, user: User, path: str) -> None:
    User.objects.update(is_staff=True)
    make_run(state="dead_letter")

    answer = signed_in.goto(f"{site}{path.format(user=user.pk)}", wait_until="networkidle")

    assert answer is not None
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert signed_in.evaluate("document.styleSheets.length") > 0


def test_a_page_whose_session_ended_elsewhere_leaves_for_the_sign_in(page: Page, site: str, sign_in: SignIn) -> None:
    make_run()
    sign_in(page.context)
    page.goto(f"{site}/runs")
    expect(page.locator("#live-state")).to_have_attribute("data-live-state", "live")

    Session.objects.all().delete()

    expect(page).to_have_url(re.compile("/sign-in"), timeout=30_000)


def test_after_signing_out_the_way_back_shows_nothing(page: Page, site: str, sign_in: SignIn) -> None:
    run = make_run()
    sign_in(page.context)
    page.goto(f"{site}/runs/{run.public_id}")
    page.goto(f"{site}/runs")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{site}/sign-in")

    page.go_back()

    page.wait_for_url(f"{site}/sign-in**")
    expect(page.get_by_label("Password")).to_be_visible()
    assert run.public_id not in page.content()


def test_who_guesses_is_told_in_words_when_to_come_back(page: Page, site: str, user: User) -> None:
    for _ in range(PAIR_LIMIT.free_count + 1):
        page.goto(f"{site}/sign-in")
        page.get_by_label("User name").fill("nobody")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()

    expect(page.get_by_role("alert")).to_contain_text("Too many wrong passwords. Try again in")
    expect(page.get_by_role("alert")).to_contain_text("one-time sign-in link")
    assert page.content().count("wrong") == 1  # the typed password is not in the page
