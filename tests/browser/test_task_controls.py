"""What a person does with tasks that fail and with dead letters, in a real browser under the site's own policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from apps.queues.controls import set_queue, set_task
from apps.runs.models import Run, RunValue, TaskControl
from apps.storage.ids import uuid7
from tests.browser.test_accessibility import violations
from tests.factories import make_run, make_task, make_user, make_worker


def letters(count: int) -> list[Run]:
    error = {"type": "PaymentDeclined", "message": "card expired", "stack": "Traceback", "reason": "spent"}
    return [make_run("process-order", state="dead_letter", error=error) for _ in range(count)]


def failing_task() -> None:
    make_worker()
    make_task("process-order", options={"max_concurrency": 20, "rate_limit": "100/m"})
    make_task("send-receipt", options={"concurrency_key": "payload.customer", "max_concurrency": 1})
    set_task("process-order", max_concurrency=2, max_concurrency_total=9)
    TaskControl.objects.update(
        failing_runs=[uuid7() for _ in range(12)], cooling_until=datetime.now(UTC) + timedelta(minutes=4)
    )


def test_task_is_paused_resumed_and_its_cool_down_lifted(signed_in: Page, site: str) -> None:
    failing_task()
    signed_in.goto(f"{site}/tasks")

    expect(signed_in.get_by_text("12 runs failed one after the other")).to_be_visible()
    signed_in.get_by_role("button", name="Lift the cool-down of process-order").click()
    expect(signed_in.get_by_role("status").get_by_text("The cool-down is lifted.")).to_be_visible()
    expect(signed_in.get_by_text("12 runs failed one after the other")).to_have_count(0)

    signed_in.get_by_role("button", name="Pause send-receipt").click()
    expect(signed_in.get_by_text("paused", exact=True)).to_be_visible()
    assert TaskControl.objects.get(task_id="send-receipt").is_paused
    signed_in.get_by_role("button", name="Resume send-receipt").click()
    expect(signed_in.get_by_text("paused", exact=True)).to_have_count(0)


def test_run_that_waits_names_the_runs_that_it_waits_for(signed_in: Page, site: str) -> None:
    make_worker()
    blocking = make_run("process-order", state="running")
    set_queue("process-order", max_concurrency=1)
    run = make_run("process-order")

    signed_in.goto(f"{site}/runs/{run.public_id}")

    reason = signed_in.locator("#reason")
    expect(reason).to_contain_text("The limit of the queue process-order is 1 at once, and 1 of it runs now.")
    reason.get_by_role("link").click()
    expect(signed_in).to_have_url(f"{site}/runs/{blocking.public_id}")


def test_operator_discards_and_requeues_dead_letters_in_the_admin(
    page: Page, sign_in_as: Any, site: str, complaints: list[str]
) -> None:
    sign_in_as(page.context, make_user("operator", username="olga"))
    first, second, third = letters(3)
    page.goto(f"{site}/admin/queues/deadletter/")

    row = page.get_by_role("row").filter(has_text=first.public_id)
    row.get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("Discard with a note")
    page.get_by_role("button", name="Go").click()
    page.get_by_label("Note").fill("customer was refunded")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("1 dead letter was discarded.")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text=first.public_id)).to_have_count(0)

    page.get_by_role("link", name=second.public_id).click()
    expect(page.get_by_text("card expired")).to_be_visible()
    page.go_back()
    page.get_by_role("checkbox").first.check()
    page.locator("select[name=action]").select_option("Requeue on the original deployment")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("2 dead letters were requeued.")).to_be_visible()

    assert RunValue.objects.get(run=first).note == "customer was refunded"
    assert {Run.objects.get(pk=run.pk).state for run in (second, third)} == {"pending"}
    page.goto(f"{site}/runs/{first.public_id}")
    expect(page.locator("#note")).to_have_text("Discarded: customer was refunded")
    assert complaints == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_set_by_hand_is_accessible_and_fits(
    page: Page, sign_in: Any, site: str, user: User, theme: Any, width: int
) -> None:
    sign_in(page.context)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    failing_task()
    set_task("send-receipt", is_paused=True)
    for _ in range(2):
        make_run("process-order", state="running")
    set_queue("process-order", max_concurrency=2)
    TaskControl.objects.filter(task_id="process-order").update(cooling_until=None, failing_runs=[uuid7()] * 3)
    waiting = make_run("process-order")
    (discarded,) = letters(1)
    Run.objects.filter(pk=discarded.pk).update(state="discarded")
    RunValue.objects.filter(run=discarded).update(note="refunded by hand " + "w" * 150)

    for path in ("/tasks", f"/runs/{waiting.public_id}", f"/runs/{discarded.public_id}"):
        page.goto(site + path)

        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
