"""What every page has around its content: its place in the sidebar, and the scripts that it uses."""

import re

import pytest
from django.test import Client

from apps.runs.models import Run
from tests.factories import make_attempt, make_checkpoint, make_user
from tests.integration.checkpoints.orders import original_run
from tests.markup import one_line
from trigger_site.web.nav import NAV, NavItem, NavSection, sections_for

pytestmark = pytest.mark.django_db

RUN_PAGES = ("", "/values", "/checkpoints", "/checkpoints/steps?first=0&after=-1", "/replays/new", "/requeue/new")
USES = {
    "copy": "data-copy=",
    "json_editor": "data-json ",
    "logs": "data-log ",
    "timeline": "data-cursor=",
    "forms": 'method="get"',
    "dialog": "data-dialog=",
    "keys": "data-go=",
    "live": "data-live-state=",
    "clock": "server-now",
}
"""A script and what it is attached to."""


@pytest.fixture
def run() -> Run:
    return original_run()


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_user("admin", username="ada"))
    return client


def current(page: str) -> list[tuple[str, str]]:
    """Label and `aria-current` of the links of the sidebar that carry it."""
    nav = page[page.index('<nav class="nav"') : page.index("</nav>")]
    return re.findall(r'aria-current="(\w+)".*?<span>([^<]+)</span>', nav)


def pages(run: Run) -> list[str]:
    return ["/runs", "/runs?state=failed", "/tasks", *(f"/runs/{run.public_id}{rest}" for rest in RUN_PAGES)]


def test_page_is_marked_in_the_sidebar_and_those_below_it_mark_their_section(admin: Client, run: Run) -> None:
    for path in ("/runs", "/runs?state=failed"):
        assert current(one_line(admin.get(path).text)) == [("page", "Runs")], path
    assert current(one_line(admin.get("/tasks").text)) == [("page", "Tasks")]
    for rest in RUN_PAGES:
        page = admin.get(f"/runs/{run.public_id}{rest}")
        assert page.status_code == 200, rest
        assert current(one_line(page.text)) == [("true", "Runs")], rest
    assert current(one_line(admin.get("/api/v1/docs").text)) == []


def test_keyboard_sheet_has_the_pages_of_the_sidebar(admin: Client) -> None:
    page = one_line(admin.get("/runs").text)

    for item in NAV[0].items:
        assert f'data-go="{item.key}"' in page
        assert f"<dt>{item.label}</dt> <dd><kbd>g</kbd> <kbd>{item.key}</kbd></dd>" in page


def test_what_a_viewer_may_not_do_is_not_in_the_sidebar(admin: Client) -> None:
    request = admin.get("/runs").wsgi_request
    hidden = NavItem("Secrets", "runs:list", "list", "s", "secrets.read")  # type: ignore[arg-type]
    nav = (NavSection("", NAV[0].items), NavSection("Settings", (hidden,)))

    sections = sections_for(request, nav)

    assert [section.heading for section in sections] == [""]
    assert [link.label for link in sections[0].links] == [item.label for item in NAV[0].items]


def test_page_loads_the_scripts_that_it_uses(admin: Client, run: Run) -> None:
    make_attempt(run)
    make_checkpoint(run, "saved")

    for path in pages(run):
        page = admin.get(path).text
        loaded = set(re.findall(r'<script src="/static/js/(\w+)\.js"', page))
        used = {script for script, mark in USES.items() if mark in one_line(page)}
        assert used - loaded == set(), path


def test_page_does_not_load_the_scripts_of_others(admin: Client, run: Run) -> None:
    page = admin.get("/tasks").text

    for script in ("logs", "timeline", "json_editor"):
        assert f"js/{script}.js" not in page
