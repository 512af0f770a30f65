"""Replay and requeue as a person does them: dialog, edits, live preview, refusals at their fields, the run after it."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from apps.checkpoints.models import Checkpoint
from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.runs.models import Run, RunValue
from tests.factories import make_attempt, make_checkpoint, make_run
from tests.integration.checkpoints.orders import deploy, original_run, point


@pytest.fixture
def letter(transactional_db: None) -> Run:
    """A dead letter with three checkpoints and a step, and newer code that can go on with it."""
    run = original_run()
    deploy()
    return run


def open_replay(page: Page, site: str, run: Run) -> Locator:
    page.goto(f"{site}/runs/{run.public_id}")
    page.get_by_role("link", name="Replay", exact=False).first.click()
    dialog = page.get_by_role("dialog", name="Replay the run")
    expect(dialog.get_by_role("radio", name="at the start")).to_be_visible()
    return dialog


def begin_after(dialog: Locator, key: str) -> None:
    dialog.get_by_role("radio", name=f"after {key}", exact=True).check()
    expect(dialog.locator(".outcome-head")).to_contain_text(key)


def start(page: Page, dialog: Locator, original: Run) -> Run:
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(page.locator("#run-head")).to_contain_text("Replay of")
    new = Run.objects.get(replay_of=original)
    expect(page).to_have_url(re.compile(f"/runs/{new.public_id}$"))
    return new


def test_replay_from_a_checkpoint_of_the_inspector(signed_in: Page, site: str, letter: Run) -> None:
    signed_in.goto(f"{site}/runs/{letter.public_id}")

    signed_in.locator("#checkpoint-0 summary").first.click()
    signed_in.locator("#checkpoint-0").get_by_role("link", name="Replay from here").click()
    dialog = signed_in.get_by_role("dialog", name="Replay the run")
    expect(dialog.get_by_role("radio", name="after order-fetched")).to_be_checked()
    new = start(signed_in, dialog, letter)

    assert new.replay_from == "order-fetched"
    expect(signed_in.locator("#checkpoint-0")).to_contain_text("from the original")
    signed_in.goto(f"{site}/runs/{letter.public_id}")
    expect(signed_in.locator("#run-head")).to_contain_text("Replayed by")


def test_replay_with_an_edited_payload(signed_in: Page, site: str, letter: Run) -> None:
    dialog = open_replay(signed_in, site, letter)
    expect(dialog.get_by_label("Payload")).to_have_value('{\n  "order_id": "A1",\n  "total": 10.10\n}')

    begin_after(dialog, "order-fetched")
    expect(dialog.locator("#replay-preview")).to_contain_text("uses the original's idempotency keys")
    dialog.get_by_label("Payload").fill('{"order_id":"A1","total":18446744073709551617}')
    expect(dialog.locator("#replay-preview")).to_contain_text("the payload is edited")
    dialog.locator(".replay-part").get_by_role("button", name="Format").click()
    expect(dialog.get_by_label("Payload")).to_have_value('{\n  "order_id": "A1",\n  "total": 18446744073709551617\n}')
    new = start(signed_in, dialog, letter)

    assert json.loads(RunValue.objects.get(run=new).payload) == {"order_id": "A1", "total": 2**64 + 1}
    expect(signed_in.locator("#payload")).to_contain_text("18446744073709551617")


def test_replay_with_edited_data(signed_in: Page, site: str, letter: Run) -> None:
    dialog = open_replay(signed_in, site, letter)

    dialog.get_by_role("link", name="Edit the data of payment-complete").click()
    field = dialog.get_by_label("Data of payment-complete")
    expect(field).to_be_focused()
    expect(field).to_have_value(re.compile(r'"id": 1\n.*"items": \[\n\s+1\.0\n', re.DOTALL))
    field.fill('{"payment": {"id": 18446744073709551617}, "items": [1.0]}')
    expect(dialog.locator("#replay-preview")).to_contain_text("the data is edited")
    new = start(signed_in, dialog, letter)

    row = Checkpoint.objects.get(run=new, key="payment-complete")
    assert (row.data, row.is_edited) == ('{"payment":{"id":18446744073709551617}}', True)
    expect(signed_in.locator("#checkpoint-2")).to_contain_text("edited for this replay")
    assert Checkpoint.objects.get(run=letter, key="payment-complete").data == '{"payment":{"id":1}}'


def test_preview_follows_the_choices(signed_in: Page, site: str, transactional_db: None) -> None:
    run = original_run()
    deploy(segments=("s0", "other", "s2", "s3"))
    dialog = open_replay(signed_in, site, run)
    lines = dialog.locator(".flow-line")

    begin_after(dialog, "payment-complete")
    expect(lines.locator(".flow-word")).to_have_text(["skipped", "skipped", "runs", "runs"])
    expect(lines.nth(1)).to_contain_text("code changed since")
    dialog.get_by_role("radio", name="orders v1").check()
    expect(dialog.locator(".outcome-head")).to_contain_text("orders v1")
    expect(lines.nth(1)).not_to_contain_text("changed")
    dialog.get_by_role("radio", name="at the start").check()
    expect(lines.locator(".flow-word")).to_have_text(["runs"] * 4)
    dialog.get_by_role("checkbox", name="New idempotency keys").check()

    expect(dialog.locator("#replay-preview")).to_contain_text("its own idempotency keys, as requested")


def test_refused_edit_says_why_at_its_field_until_it_is_fixed(signed_in: Page, site: str, letter: Run) -> None:
    dialog = open_replay(signed_in, site, letter)
    submit = dialog.get_by_role("button", name="Replay", exact=True)
    dialog.get_by_role("link", name="Edit the data of order-fetched").click()
    field = dialog.get_by_label("Data of order-fetched")

    field.fill('{"order": 1,\n "total": }')
    notes = dialog.locator("#notes-data-0")
    expect(notes).to_contain_text("line 2, column 11")
    expect(submit).to_be_disabled()
    expect(field).to_have_attribute("aria-invalid", "true")
    notes.get_by_role("button").click()
    expect(field).to_be_focused()
    assert field.evaluate("field => field.selectionStart") == 23
    field.fill('{"order": 1, "total": 2}')
    expect(notes).to_contain_text("has no `total`")
    expect(notes).to_contain_text("note")
    expect(dialog.locator("#replay-status")).to_contain_text("2 reasons")
    field.fill('{"order": 1, "note": "x"}')

    expect(submit).to_be_enabled()
    expect(dialog.locator("#replay-status")).to_have_text("Ready to start.")
    expect(notes).to_be_empty()
    expect(field).to_have_attribute("aria-invalid", "false")


def test_edit_of_what_would_be_made_again_is_refused_and_can_be_discarded(
    signed_in: Page, site: str, letter: Run
) -> None:
    dialog = open_replay(signed_in, site, letter)
    dialog.get_by_role("link", name="Edit the data of payment-complete").click()
    dialog.get_by_label("Data of payment-complete").fill('{"payment": {"id": 2}, "items": []}')

    begin_after(dialog, "order-fetched")
    expect(dialog.locator("#notes-data-2")).to_contain_text("made again")
    dialog.get_by_role("button", name="Discard the edit").click()

    expect(dialog.get_by_label("Data of payment-complete")).to_have_count(0)
    expect(dialog.locator("#notes-data-2")).to_be_empty()
    expect(dialog.get_by_role("button", name="Replay", exact=True)).to_be_enabled()


def test_server_decides_also_where_the_preview_allowed_it(
    signed_in: Page, site: str, letter: Run, complaints: list[str]
) -> None:
    dialog = open_replay(signed_in, site, letter)
    begin_after(dialog, "order-fetched")
    dialog.get_by_label("Payload").fill('{"order_id":"typed"}')
    expect(dialog.locator("#replay-preview")).to_contain_text("the payload is edited")

    Checkpoint.objects.filter(run=letter).delete()
    dialog.get_by_role("button", name="Replay", exact=True).click()

    expect(signed_in.locator("#notes-from")).to_contain_text("has no checkpoint")
    expect(signed_in.get_by_label("Payload")).to_have_value('{"order_id":"typed"}')
    assert Run.objects.count() == 1
    assert "422" in complaints.pop()  # Chromium reports the status of a refused page


def test_keyboard_opens_walks_and_leaves_the_dialog(signed_in: Page, site: str, letter: Run) -> None:
    signed_in.goto(f"{site}/runs/{letter.public_id}")
    expect(signed_in.locator(".checkpoint").first).to_be_visible()

    signed_in.keyboard.press("r")
    dialog = signed_in.get_by_role("dialog", name="Replay the run")
    chosen = dialog.get_by_role("radio", name="after shipped")
    expect(chosen).to_be_focused()
    signed_in.keyboard.press("ArrowUp")
    expect(dialog.get_by_role("radio", name="after payment-complete")).to_be_checked()
    expect(dialog.locator(".outcome-head")).to_contain_text("payment-complete")
    signed_in.keyboard.press("Escape")

    expect(dialog).to_be_hidden()
    expect(signed_in.get_by_role("link", name="Replay", exact=False).first).to_be_focused()


def test_requeue_on_the_newest_deployment_goes_on_live(signed_in: Page, site: str, letter: Run) -> None:
    signed_in.goto(f"{site}/runs/{letter.public_id}")

    signed_in.get_by_role("link", name="Requeue").click()
    dialog = signed_in.get_by_role("dialog", name="Requeue the run")
    expect(dialog.get_by_role("radio", name="orders v2")).to_be_checked()
    expect(dialog).to_contain_text("continues after shipped")
    dialog.get_by_role("button", name="Requeue").click()

    expect(signed_in.locator("#messages")).to_contain_text("it continues on orders v2")
    expect(signed_in.locator("#run-head")).to_contain_text("Pending")
    expect(signed_in.locator("#live-state")).to_have_text("Live")
    expect(signed_in.get_by_role("link", name="Requeue")).to_have_count(0)
    attempt_again(letter)
    expect(signed_in.locator("#run-head")).to_contain_text("Running")
    expect(signed_in.locator("#attempts")).to_contain_text("requeued")


def test_requeue_appears_when_the_run_dies_before_the_viewers_eyes(signed_in: Page, site: str, letter: Run) -> None:
    Run.objects.filter(pk=letter.pk).update(state="pending", finished_at=None)
    signed_in.goto(f"{site}/runs/{letter.public_id}")
    expect(signed_in.locator("#live-state")).to_have_text("Live")
    expect(signed_in.get_by_role("link", name="Requeue")).to_have_count(0)

    Run.objects.filter(pk=letter.pk).update(state="dead_letter", finished_at=letter.finished_at, version=7)
    announce_now(RUNS, [letter.id])
    signed_in.get_by_role("link", name="Requeue").click()

    expect(signed_in.get_by_role("dialog", name="Requeue the run")).to_contain_text("orders v2")


def test_requeue_that_no_code_can_do_is_off_with_its_reason(signed_in: Page, site: str, transactional_db: None) -> None:
    run = original_run()
    make_checkpoint(run, "of-no-code")
    deploy([point("renamed")])
    signed_in.goto(f"{site}/runs/{run.public_id}")

    signed_in.get_by_role("link", name="Requeue").click()
    dialog = signed_in.get_by_role("dialog", name="Requeue the run")

    expect(dialog.get_by_role("button", name="Requeue")).to_be_disabled()
    expect(dialog).to_contain_text("has no checkpoint 'of-no-code'")


COUNT_FORMATTED = """
    window.formatted = 0;
    const { get } = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format");
    const counted = (format) => (at) => { window.formatted++; return format(at); };
    Object.defineProperty(Intl.DateTimeFormat.prototype, "format", { get() { return counted(get.call(this)); } });
    Date.prototype.toLocaleString = function () { window.formatted++; return this.toISOString(); };
"""


def test_steps_group_open_by_pages_grow_live_and_are_found(signed_in: Page, site: str, transactional_db: None) -> None:
    signed_in.add_init_script(COUNT_FORMATTED)
    run = make_run(state="running")
    make_attempt(run)
    make_checkpoint(run, "listed")
    add_steps(run, range(230))
    signed_in.goto(f"{site}/runs/{run.public_id}")
    expect(signed_in.locator("#live-state")).to_have_text("Live")
    group = signed_in.locator(".steps")

    expect(group).to_contain_text("230 steps")
    group.locator("summary").first.click()
    group.get_by_role("link", name="Show the next 100 of 230").click()
    expect(group.locator(".checkpoint")).to_have_count(100)
    # Each of the hundred new rows is told to the page's scripts: what each does for all rows would hold the page up.
    assert 100 <= signed_in.evaluate("window.formatted") < 1_000
    add_steps(run, range(230, 240))
    announce_now(RUNS, [run.id])
    expect(group).to_contain_text("240 steps")
    expect(group.locator(".checkpoint")).to_have_count(100)
    make_checkpoint(run, "crawled")
    announce_now(RUNS, [run.id])
    expect(signed_in.locator("#checkpoint-241")).to_contain_text("crawled")

    signed_in.get_by_label("Find a checkpoint or step by its key").fill("page-0237")
    expect(signed_in.locator("#checkpoint-rows .checkpoint")).to_have_count(1)
    signed_in.locator("#checkpoint-238 summary").first.click()
    signed_in.get_by_role("link", name="Replay from here").click()
    expect(signed_in.get_by_role("radio", name="after step page-0237")).to_be_checked()


def add_steps(run: Run, numbers: range) -> None:
    start_at = run.checkpoints.count()
    fields: dict[str, Any] = {"kind": "step", "content_hash": b"x" * 32, "attempt": 1, "duration_seconds": 0.5}
    Checkpoint.objects.bulk_create(
        Checkpoint(run=run, key=f"page-{number:04d}", index=start_at + at, data="1", size_bytes=1, **fields)
        for at, number in enumerate(numbers)
    )


def attempt_again(run: Run) -> None:
    """A worker takes the requeued run."""
    like = make_run(state="running")
    lease = {name: getattr(like, name) for name in ("token", "worker_id", "lease_end", "started_at")}
    Run.objects.filter(pk=like.pk).delete()
    Run.objects.filter(pk=run.pk).update(state="running", attempt_count=2, **lease)
    run.refresh_from_db()
    make_attempt(run, number=2)
    announce_now(RUNS, [run.id])
