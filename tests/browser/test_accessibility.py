"""Pages in both themes and widths: axe finds nothing, nothing is wider than the window, hostile data stays text."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.runs.models import Run
from tests.browser.conftest import AXE
from tests.factories import make_attempt, make_checkpoint, make_log_line, make_run, make_task, make_worker
from tests.integration.checkpoints.orders import deploy, original_run

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>" + "w" * 200


def full_run() -> Run:
    error = {
        "type": "shop.PaymentDeclined",
        "message": "declined",
        "stack": "Traceback\n" + "x" * 200,
        "reason": "spent",
    }
    make_worker(executor_note="No engine answers.")
    make_task("process-order", resume_points=[{"key": "order-fetched", "line": 1, "names": []}])
    run = make_run("process-order", state="dead_letter", error=error)
    make_attempt(run, outcome="failed", error=error)
    make_checkpoint(run, "order-fetched", binds=["order"])
    make_attempt(run, outcome="failed", error=error, resumed_from="order-fetched")
    for number in range(12):
        make_checkpoint(run, f"page-{number}", kind="step", duration_seconds=0.01, is_edited=number == 3)
    for _ in range(6):
        make_run("process-order", state="completed", replay_of=run, replay_from="order-fetched")
    make_log_line(run, "\x1b[31mred\x1b[0m " + "long " * 60, level="error")
    make_log_line(run, "quiet", level="debug", fields={"amount": "288.80"})
    for state in (
        "running",
        "pending",
        "retrying",
        "completed",
        "canceled",
        "expired",
        "waiting",
        "delayed",
        "discarded",
    ):
        make_run("process-order", state=state)
    return run


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())  # by the debugger: the policy lets no script tag in
    found: Any = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(RULES)}}})")
    return [
        f"{one['id']}: {one['help']}: {node['html'][:160]} {node['any'] and node['any'][0]['message']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible_and_fit(page: Page, sign_in: Any, site: str, theme: Any, width: int) -> None:
    sign_in(page.context)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    run = full_run()

    for path in ("/runs", f"/runs/{run.public_id}", "/tasks", "/runs?state=expired&task=none"):
        page.goto(site + path)
        if "run_" in path:
            page.locator(".steps summary").first.click()
            page.get_by_role("link", name="Show 12 steps").click()
            expect(page.locator(".checkpoint")).to_have_count(13)
            expect(page.locator("#output")).to_be_visible()

        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_dialogs_are_accessible(page: Page, sign_in: Any, site: str, theme: Any, width: int) -> None:
    sign_in(page.context)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    run = original_run()
    deploy(segments=("s0", "other", "s2", "s3"))
    page.goto(f"{site}/runs/{run.public_id}")

    page.keyboard.press("q")
    expect(page.get_by_role("radio", name="orders v2")).to_be_checked()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.get_by_role("link", name="Edit the data of order-fetched").click()
    page.get_by_label("Data of order-fetched").fill('{"order": 1, "oops": 2}')
    page.get_by_label("Payload").fill("{,")
    expect(page.locator("#notes-payload")).to_contain_text("Not JSON")
    assert violations(page) == []

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(f"{site}/runs/{run.public_id}/replays/new?from=page-1")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_data_stays_text_under_the_policy(signed_in: Page, site: str) -> None:
    error = {"type": HOSTILE, "message": HOSTILE, "stack": HOSTILE}
    run = make_run(state="dead_letter", payload=json.dumps({HOSTILE: [HOSTILE]}), error=error)
    make_attempt(run, outcome="failed", error=error)
    make_checkpoint(run, HOSTILE[:190], data=json.dumps({HOSTILE: HOSTILE}), binds=[HOSTILE])
    make_log_line(run, HOSTILE)
    signed_in.set_viewport_size({"width": 390, "height": 844})

    for path in ("/runs", f"/runs/{run.public_id}"):
        signed_in.goto(site + path)
        if "run_" in path:
            expect(signed_in.locator(".checkpoint")).to_have_count(1)
            expect(signed_in.locator("#payload .json-str").first).to_contain_text("<script>")

        assert signed_in.evaluate("window.hacked") is None
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= 390, path
