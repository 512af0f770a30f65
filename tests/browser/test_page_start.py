"""A page before and while its scripts arrive, and for those who want no motion."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.factories import make_attempt, make_run

MOVING = "document.getAnimations().map((one) => one.animationName ?? one.transitionProperty)"
TIMED = """() => [...document.querySelectorAll("*")].filter((element) => {
  const style = getComputedStyle(element);
  return style.animationName !== "none" || style.transitionDuration.split(", ").some((time) => parseFloat(time) > 0);
}).map((element) => element.className)"""


def open_moving(page: Page, site: str) -> None:
    """A page with all that moves: the icon of a running state, and the dot of a socket that is away."""
    run = make_run(state="running")
    make_attempt(run)
    page.goto(f"{site}/runs/{run.public_id}")
    expect(page.locator(".badge.is-busy").first).to_be_visible()
    expect(page.locator("#live-state")).to_have_text("Live")
    page.evaluate("document.getElementById('live-state').dataset.liveState = 'reconnecting'")


def test_nothing_moves_for_those_who_want_no_motion(signed_in: Page, site: str) -> None:
    signed_in.emulate_media(reduced_motion="reduce")

    open_moving(signed_in, site)

    assert signed_in.evaluate(MOVING) == []
    assert signed_in.evaluate(TIMED) == []


def test_what_goes_on_moves_for_everybody_else(signed_in: Page, site: str) -> None:
    signed_in.emulate_media(reduced_motion="no-preference")

    open_moving(signed_in, site)

    assert {"turn", "blink"} <= set(signed_in.evaluate(MOVING))


@pytest.fixture
def held(signed_in: Page, site: str) -> list[Route]:
    """The list of runs with its keyboard script still on the way; its request, to be answered."""
    requests: list[Route] = []
    signed_in.route("**/js/keys.js", lambda route: requests.append(route), times=1)
    signed_in.goto(f"{site}/runs", wait_until="commit")
    expect(signed_in.locator("#keys")).to_be_attached()
    return requests


def test_keys_pressed_before_the_scripts_are_there_are_not_lost(signed_in: Page, site: str, held: list[Route]) -> None:
    root = signed_in.locator("html")
    signed_in.keyboard.press("g")
    signed_in.keyboard.press("t")
    expect(root).not_to_have_attribute("data-ready", "")
    expect(signed_in).to_have_url(f"{site}/runs")

    held[0].continue_()

    expect(signed_in).to_have_url(f"{site}/tasks")
    expect(root).to_have_attribute("data-ready", "")


def test_what_is_typed_into_a_field_early_stays_there(signed_in: Page, site: str, held: list[Route]) -> None:
    signed_in.locator("#search").focus()
    signed_in.keyboard.type("gt?")

    held[0].continue_()

    expect(signed_in.locator("html")).to_have_attribute("data-ready", "")
    expect(signed_in.locator("#search")).to_have_value("gt?")
    expect(signed_in).to_have_url(re.compile("/runs$"))
    expect(signed_in.locator("#keys")).to_be_hidden()


def test_pages_without_a_sidebar_are_ready_too(page: Page, site: str) -> None:
    page.goto(f"{site}/sign-in")

    expect(page.locator("html")).to_have_attribute("data-ready", "")
