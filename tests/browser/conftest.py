"""A real site for a real browser: uvicorn on the tests' database, Chromium, a page that fails on complaints."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, expect

from tests.factories import make_user
from tests.ports import reserve_port

# Playwright's synchronous interface runs an event loop in this thread, which Django takes for a mistake.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1" / "axe.min.js"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60.0
BASE_URL_WARNING = "ignore:Session-scoped fixtures defined as instance methods:pytest.PytestRemovedIn10Warning"
"""pytest-base-url, which pytest-playwright brings, is written for an older pytest."""

# For what never comes; a busy machine takes longer than Playwright's five seconds.
expect.set_options(timeout=30_000)

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in here:
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.filterwarnings(BASE_URL_WARNING))
    if chromium() is not None:
        return
    reason = "No Chromium was found (looked for: " + ", ".join(CHROMIUM_NAMES) + ")."
    if "browser" in os.environ.get("TRIGGER_TEST_REQUIRE", "").split(","):
        raise pytest.UsageError(reason)
    for item in here:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": chromium(), "args": CHROMIUM_ARGUMENTS}


@pytest.fixture
def context(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[BrowserContext]:
    """A context of its own, left to the end of the browser, with its pages.

    Closing either has no time limit, and Chromium was seen never to answer. An empty page costs nothing.
    """
    context = browser.new_context(**browser_context_args)
    yield context
    for page in context.pages:
        leave(page)


def leave(page: Page) -> None:
    """Ends what the page loads. One whose session went with the test's rows may just be leaving for the sign-in."""
    with suppress(Error):
        page.goto("about:blank")


@pytest.fixture(scope="session")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web process of its own, on the database that these tests write to."""
    with web_process(tmp_path_factory.mktemp("web")) as (url, _):
        yield url


@contextmanager
def web_process(folder: Path, **variables: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a web process on the tests' database, and the process."""
    port = reserve_port()
    log = folder / "uvicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "trigger_site.asgi:application", "--port", str(port)],
            cwd=ROOT,
            env={
                **os.environ,
                "TRIGGER_DATABASE_URL": database_url(),
                "TRIGGER_SECRET_KEY": settings.SECRET_KEY,
                "TRIGGER_LISTEN_DATABASE_URL": settings.LISTEN_DATABASE_URL,
                **variables,
            },
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_up(url, process, log)
        yield url, process
    finally:
        process.send_signal(signal.SIGCONT)  # a frozen one cannot end
        process.terminate()
        process.wait(START_SECONDS)


def database_url() -> str:
    """The test database's address; pytest-django gave it its name."""
    server, _, _ = settings.DATABASE_URL.rpartition("/")
    return f"{server}/{connection.settings_dict['NAME']}"


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(URLError, ConnectionError), urlopen(f"{url}/sign-in", timeout=5):
            return
        time.sleep(0.05)
    pytest.fail(f"The web process did not start:\n{log.read_text()}")


@pytest.fixture
def user(transactional_db: None) -> User:
    return make_user("", username="ada", is_superuser=True)


SignIn = Callable[[BrowserContext], None]


@pytest.fixture
def sign_in_as(transactional_db: None, site: str) -> Callable[[BrowserContext, User], None]:
    def add_session(context: BrowserContext, user: User) -> None:
        client = Client()
        client.force_login(user)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])

    return add_session


@pytest.fixture
def sign_in(user: User, sign_in_as: Callable[[BrowserContext, User], None]) -> SignIn:
    return lambda context: sign_in_as(context, user)


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console complained of: refused by the policy, failed, or thrown.

    A network that changed is the machine's doing: container engines come and go while the tests run.
    """
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "ERR_NETWORK_CHANGED" not in message.text:
            found.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.fixture
def signed_in(page: Page, sign_in: SignIn, complaints: list[str]) -> Iterator[Page]:
    """A page with a session; the test fails where the console complained."""
    sign_in(page.context)
    yield page
    assert complaints == []
