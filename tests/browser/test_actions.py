"""What a person does with a run: sign in, find it, cancel it, by mouse and by keyboard."""

import re

from django.contrib.auth.models import User
from django.test import override_settings
from playwright.sync_api import Page, expect

from apps.access.sign_in import sign_in_link
from tests.factories import make_run


def test_one_time_link_signs_in(page: Page, site: str, user: User, complaints: list[str]) -> None:
    page.goto(sign_in_link(user, site))
    page.get_by_role("button", name="Continue as ada").click()

    expect(page).to_have_url(f"{site}/runs")
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    assert complaints == []


def test_password_signs_in_and_out(page: Page, site: str, user: User) -> None:
    # The site is a process of its own, which knows the product's hasher alone.
    with override_settings(PASSWORD_HASHERS=["apps.access.hashing.BoundedPBKDF2PasswordHasher"]):
        user.set_password("a-long-password")
        user.save()
    page.goto(f"{site}/runs")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a-long-password")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site}/runs")

    page.get_by_role("button", name="Sign out").click()

    expect(page).to_have_url(f"{site}/sign-in")


def test_cancel_asks_first(signed_in: Page, site: str) -> None:
    run = make_run()
    signed_in.goto(f"{site}/runs/{run.public_id}")

    signed_in.get_by_role("button", name="Cancel").click()
    signed_in.get_by_role("button", name="Keep it").click()
    run.refresh_from_db()
    assert run.state == "pending"
    signed_in.keyboard.press("c")
    signed_in.get_by_role("button", name="Cancel the run").click()

    expect(signed_in.locator("#run-head")).to_contain_text("Canceled")


def test_keyboard_walks_the_product(signed_in: Page, site: str) -> None:
    """Keys are pressed when the scripts of a page have run; those pressed earlier are another test's matter."""
    runs = [make_run() for _ in range(3)]
    signed_in.goto(f"{site}/runs")

    signed_in.keyboard.press("j")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("Enter")
    expect_page(signed_in, f"{site}/runs/{runs[1].public_id}")
    signed_in.keyboard.press("j")
    expect_page(signed_in, f"{site}/runs/{runs[0].public_id}")
    signed_in.keyboard.press("?")
    expect(signed_in.get_by_role("dialog", name="Keyboard")).to_be_visible()
    signed_in.keyboard.press("Escape")
    signed_in.keyboard.press("Escape")
    expect_page(signed_in, f"{site}/runs")
    signed_in.keyboard.press("/")
    signed_in.keyboard.type("process-order")
    signed_in.keyboard.press("Enter")
    expect_page(signed_in, f"{site}/runs?q=process-order")
    signed_in.keyboard.press("g")
    signed_in.keyboard.press("t")
    expect_page(signed_in, f"{site}/tasks")


def expect_page(page: Page, url: str) -> None:
    expect(page).to_have_url(url)
    page.wait_for_load_state()


def test_filters_are_addresses(signed_in: Page, site: str) -> None:
    make_run("process-order", state="completed")
    make_run("send-receipt")
    signed_in.goto(f"{site}/runs")

    signed_in.get_by_role("link", name="Completed", exact=True).click()
    expect(signed_in.locator("[data-row]")).to_have_count(1)
    signed_in.get_by_label("Task", exact=True).select_option("send-receipt")
    expect(signed_in).to_have_url(f"{site}/runs?state=completed&task=send-receipt")
    expect(signed_in.get_by_role("heading", name="No run matches")).to_be_visible()
    signed_in.go_back()

    expect(signed_in.locator("[data-row]")).to_have_count(1)


def test_theme_is_kept_and_set_before_the_first_paint(signed_in: Page, site: str) -> None:
    signed_in.goto(f"{site}/runs")
    signed_in.get_by_role("button", name="Dark theme").click()

    signed_in.goto(f"{site}/tasks", wait_until="commit")

    expect(signed_in.locator("html")).to_have_attribute("data-theme", "dark")
    expect(signed_in.locator("body")).to_have_css("background-color", "rgb(13, 14, 17)")


def test_lazy_branches_of_a_value_open_on_demand(signed_in: Page, site: str) -> None:
    items = ",".join(f'{{"n":{n}}}' for n in range(120))
    run = make_run(state="completed", payload=f'{{"items":[{items}],"deep":{{"a":{{"b":{{"c":{{"d":"bottom"}}}}}}}}}}')
    signed_in.goto(f"{site}/runs/{run.public_id}")
    payload = signed_in.locator("#payload")

    payload.locator("summary", has_text=re.compile("items")).first.click()
    payload.get_by_role("button", name="more of 120 items").click()
    expect(payload.locator(".json-key", has_text=re.compile("^99$"))).to_be_attached()
    payload.get_by_role("button", name="more of 120 items").click()

    expect(payload.locator(".json-key", has_text=re.compile("^119$"))).to_be_attached()
    expect(payload.get_by_role("button", name="more of 120 items")).to_have_count(0)
