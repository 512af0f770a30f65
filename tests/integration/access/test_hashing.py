"""Password hashing on a real server: bounded, outside the event loop, and nobody else waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.test import Client, override_settings
from pytest_django import Settings

from apps.access import hashing
from apps.access.models import Brake
from tests.factories import make_user
from tests.live_server import Answer, LiveServer, running_server

DEADLINE_SECONDS = 60.0
SIGN_IN_COUNT = 20
PASSWORD = "correct horse"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Gate:
    """Django's own hash, held until it is let go; counts how many are in it at once."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = self.most = 0
        self._lock = threading.Lock()
        self._encode = PBKDF2PasswordHasher.encode

    def encode(self, hasher: PBKDF2PasswordHasher, password: str, salt: str, iterations: int | None = None) -> str:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.opened.wait(DEADLINE_SECONDS)
        try:
            return self._encode(hasher, password, salt, iterations)
        finally:
            with self._lock:
                self.inside -= 1


@pytest.fixture
def real_hasher(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PASSWORD_HASHERS = ["apps.access.hashing.BoundedPBKDF2PasswordHasher"]
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)


@contextmanager
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()

    def encode(hasher: PBKDF2PasswordHasher, password: str, salt: str, iterations: int | None = None) -> str:
        return gate.encode(hasher, password, salt, iterations)

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", encode)
    try:
        yield gate
    finally:
        gate.opened.set()


def sign_in(server: LiveServer, username: str) -> Answer:
    body = urlencode({"username": username, "password": PASSWORD, "csrfmiddlewaretoken": "x" * 32})
    headers = {**FORM, "Cookie": f"csrftoken={'x' * 32}"}
    return server.call("POST", "/sign-in", body.encode(), headers=headers, timeout=DEADLINE_SECONDS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_hasher")
def test_while_twenty_sign_ins_hash_other_pages_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(SIGN_IN_COUNT):
        make_user("viewer", username=f"user-of-{number}", password=PASSWORD)
    reader = Client()
    reader.force_login(make_user("viewer"))
    cookie = {"Cookie": f"sessionid={reader.cookies['sessionid'].value}"}

    with running_server() as server, ThreadPoolExecutor(SIGN_IN_COUNT) as pool, gated(monkeypatch) as gate:
        answers: list[Future[Answer]] = [
            pool.submit(sign_in, server, f"user-of-{number}") for number in range(SIGN_IN_COUNT)
        ]
        for _ in range(hashing.SLOT_COUNT):
            assert gate.entered.acquire(timeout=DEADLINE_SECONDS)
        refused = SIGN_IN_COUNT - hashing.SLOT_COUNT - hashing.WAITERS_LIMIT
        wait_until(lambda: sum(answer.done() for answer in answers) == refused)

        pages = [server.call("GET", "/runs", headers=cookie).status for _ in range(12)]
        still_signing_in = [answer for answer in answers if not answer.done()]

        assert pages == [200] * 12
        assert len(still_signing_in) == SIGN_IN_COUNT - refused
        gate.opened.set()
        statuses = [answer.result(DEADLINE_SECONDS).status for answer in answers]
        headers = [answer.result().headers for answer in answers if answer.result().status == 503]

    assert sorted(statuses) == [302] * (SIGN_IN_COUNT - refused) + [503] * refused
    assert all(int(each["retry-after"]) > 0 for each in headers)
    assert gate.most == hashing.SLOT_COUNT
    assert not Brake.objects.exclude(failure_count=0).exists()  # who was too many was not counted


@pytest.mark.django_db
@pytest.mark.usefixtures("real_hasher")
def test_who_waited_too_long_is_told_to_come_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_user("viewer", username="ada", password=PASSWORD)
    monkeypatch.setattr(hashing, "WAIT_SECONDS", 0.01)
    for _ in range(hashing.SLOT_COUNT):
        assert hashing._slots.acquire(blocking=False)

    answer = client.post("/sign-in", {"username": "ada", "password": PASSWORD})

    for _ in range(hashing.SLOT_COUNT):
        hashing._slots.release()
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "signing in right now" in answer.text
    assert client.post("/sign-in", {"username": "ada", "password": PASSWORD})["Location"] == "/runs"


@override_settings(PASSWORD_HASHERS=["apps.access.hashing.BoundedPBKDF2PasswordHasher"])
def test_hashes_are_those_of_django_at_its_full_price() -> None:
    encoded = make_password(PASSWORD)

    assert encoded.split("$")[:2] == ["pbkdf2_sha256", str(PBKDF2PasswordHasher.iterations)]
    assert PBKDF2PasswordHasher.iterations >= 600_000
    assert PBKDF2PasswordHasher().verify(PASSWORD, encoded)
    assert check_password(PASSWORD, encoded)
    assert not check_password("wrong", encoded)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
