"""The brake of signing in: what is read, who waits and for how long, and what is written down."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from apps.access import brake
from apps.access.brake import ACCOUNT_LIMIT, PAIR_LIMIT, PEER_LIMIT, Limit, Subjects, words_of
from apps.access.errors import TooManyTries
from apps.access.models import AuditEntry, Brake
from apps.access.peers import peer_of
from apps.access.sign_in import sign_in_link
from tests.callers import at_once, own_connection
from tests.factories import make_user

pytestmark = pytest.mark.sql

RIGHT = "correct horse"


@pytest.fixture
def user(db: None) -> User:
    return make_user("viewer", username="ada", password=RIGHT)


def sign_in(username: str = "ada", password: str = "wrong", peer: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=peer).post("/sign-in", {"username": username, "password": password})


def pass_time(by: timedelta) -> None:
    """As if all that is remembered had happened so much earlier."""
    Brake.objects.update(
        failed_at=F("failed_at") - by,
        blocked_until=F("blocked_until") - by,
        known_until=F("known_until") - by,
        touched_at=F("touched_at") - by,
    )


def statuses(count: int, **tries: str) -> list[int]:
    return [sign_in(**tries).status_code for _ in range(count)]


def test_after_the_free_tries_even_the_right_password_waits_and_is_told_for_how_long(user: User) -> None:
    assert statuses(PAIR_LIMIT.free_count) == [200] * PAIR_LIMIT.free_count

    refused = sign_in(password=RIGHT)

    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 15
    assert f"Try again in {words_of(int(refused['Retry-After']))}" in refused.text
    pass_time(PAIR_LIMIT.first)
    assert sign_in(password=RIGHT)["Location"] == "/runs"


def test_each_further_failure_doubles_the_wait_up_to_the_longest(user: User) -> None:
    statuses(PAIR_LIMIT.free_count)
    waits = []
    for _ in range(8):
        waits.append(int(sign_in()["Retry-After"]))
        pass_time(timedelta(seconds=waits[-1]))
        assert sign_in().status_code == 200

    assert [round(wait / 15) for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_quiet_hour_or_a_success_begins_the_count_anew(user: User) -> None:
    for begin_anew in (lambda: pass_time(brake.QUIET * 1.01), lambda: sign_in(password=RIGHT)):
        assert statuses(PAIR_LIMIT.free_count - 1) == [200] * (PAIR_LIMIT.free_count - 1)
        begin_anew()


def test_a_locked_account_is_open_from_elsewhere_and_by_link(user: User) -> None:
    statuses(PAIR_LIMIT.free_count)
    assert sign_in(password=RIGHT).status_code == 429

    assert Client().post(sign_in_link(user, ""))["Location"] == "/runs"
    assert sign_in(password=RIGHT, peer="192.0.2.2")["Location"] == "/runs"


def test_an_unknown_name_is_answered_and_locked_as_a_known_one(user: User) -> None:
    answers: dict[str, list[tuple[int, str]]] = {}
    for name in ("ada", "nobody"):
        tries = [sign_in(username=name, peer="192.0.2.9") for _ in range(PAIR_LIMIT.free_count + 1)]
        answers[name] = [
            (each.status_code, each.text.replace(name, "").replace(_token(each.text), "")) for each in tries
        ]

    assert answers["ada"][:-1] == answers["nobody"][:-1]
    assert [status for status, _ in answers["nobody"]] == [200] * PAIR_LIMIT.free_count + [429]


def test_one_peer_guesses_no_further_over_many_names(user: User) -> None:
    for number in range(PEER_LIMIT.free_count):
        assert sign_in(username=f"name-{number}").status_code == 200

    assert sign_in(username="another").status_code == 429
    assert sign_in(password=RIGHT).status_code == 429
    assert sign_in(password=RIGHT, peer="192.0.2.2").status_code == 302


def test_many_peers_guess_no_further_at_one_name_and_its_owner_is_not_kept_out(user: User) -> None:
    assert sign_in(password=RIGHT, peer="198.51.100.1").status_code == 302
    for number in range(ACCOUNT_LIMIT.free_count):
        assert sign_in(peer=f"192.0.2.{number}").status_code == 200

    assert sign_in(password=RIGHT, peer="203.0.113.1").status_code == 429
    assert sign_in(password=RIGHT, peer="198.51.100.1").status_code == 302
    pass_time(ACCOUNT_LIMIT.longest)
    assert sign_in(password=RIGHT, peer="203.0.113.1").status_code == 302


def test_owning_an_account_does_not_clear_the_count_of_guesses_at_another(user: User) -> None:
    make_user("viewer", username="eve", password=RIGHT)

    guesses = 0
    for number in range(PEER_LIMIT.free_count + 5):
        sign_in(username="eve", password=RIGHT)
        guesses += sign_in(username=f"name-{number}").status_code == 200

    assert guesses == PEER_LIMIT.free_count


@pytest.mark.parametrize("name", ["ada", "ADA", "\N{FULLWIDTH LATIN SMALL LETTER A}da"])
def test_spellings_of_a_name_are_one_account(user: User, name: str) -> None:
    statuses(PAIR_LIMIT.free_count)

    assert sign_in(username=name).status_code == 429


def test_a_refused_try_hashes_nothing_and_makes_no_row(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses(PAIR_LIMIT.free_count)
    count = Brake.objects.count()
    monkeypatch.setattr("django.contrib.auth.hashers.MD5PasswordHasher.encode", None)

    with CaptureQueriesContext(connection) as queries:
        assert sign_in(password=RIGHT).status_code == 429

    assert Brake.objects.count() == count
    assert not [query for query in queries if "auth_user" in query["sql"]]


@pytest.mark.django_db(transaction=True)
def test_simultaneous_tries_get_no_further_than_the_same_one_by_one() -> None:
    make_user("viewer", username="ada", password=RIGHT)

    def guess(_: int) -> str:
        try:
            authenticate(RequestFactory(REMOTE_ADDR="192.0.2.1").post("/sign-in"), username="ada", password="wrong")
        except TooManyTries:
            return "refused"
        return "read"

    assert sorted(at_once(12, guess)).count("read") == PAIR_LIMIT.free_count


def test_entries_say_who_was_refused_locked_and_let_in(user: User, caplog: pytest.LogCaptureFixture) -> None:
    statuses(PAIR_LIMIT.free_count + 2)
    pass_time(PAIR_LIMIT.longest)
    sign_in(username="my secret password")
    sign_in(password=RIGHT)
    sign_in()

    entries = list(AuditEntry.objects.order_by("id").values_list("actor", "action", "subject", "details"))
    peer = "192.0.2.1"
    assert entries == [
        *[("anonymous", "sign_in.refuse", "ada", {"peer": peer, "failure_count": n}) for n in range(1, 5)],
        ("anonymous", "sign_in.lock", "ada", {"peer": peer, "failure_count": 5, "locked_seconds": 15}),
        ("anonymous", "sign_in.refuse", brake.UNKNOWN_ACCOUNT, {"peer": peer, "failure_count": 1}),
        ("ada", "sign_in.accept", "ada", {"peer": peer, "by": "password"}),
        ("anonymous", "sign_in.refuse", "ada", {"peer": peer, "failure_count": 1}),
    ]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("apps.access")]
    assert [line.partition(" ")[0] for line in lines] == [action for _, action, _, _ in entries]
    assert "secret" not in caplog.text


def test_tries_refused_under_a_lock_are_counted_in_the_next_entry(user: User) -> None:
    statuses(PAIR_LIMIT.free_count + 3)
    pass_time(PAIR_LIMIT.first)

    sign_in()

    assert AuditEntry.objects.latest("id").details["refused_count"] == 3


def test_entries_are_bounded_and_those_left_out_are_counted(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "ENTRIES_PER_HOUR", 3)
    for number in range(8):
        sign_in(username=f"name-{number}")
    assert AuditEntry.objects.count() == 3

    pass_time(timedelta(hours=1, seconds=1))
    sign_in()

    assert AuditEntry.objects.latest("id").details["entries_left_out"] == 5


@pytest.mark.django_db(transaction=True)
def test_a_held_count_of_entries_keeps_nobodys_answer() -> None:
    make_user("viewer", username="ada", password=RIGHT)
    sign_in(peer="192.0.2.7")
    (held,) = Brake.objects.exclude(subject__in=Subjects.of("ada", "192.0.2.7").limits)
    entries = AuditEntry.objects.count()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Brake.objects.select_for_update().get(pk=held.pk)
        refused = pool.submit(in_own_connection, sign_in).result(60)

    assert "do not match" in refused.text
    assert AuditEntry.objects.count() == entries
    assert sign_in(password=RIGHT)["Location"] == "/runs"


def in_own_connection(call: Any) -> Any:
    with own_connection(options="-c lock_timeout=200"):
        return call()


def test_idle_rows_are_forgotten_and_known_peers_are_not(user: User) -> None:
    sign_in(password=RIGHT, peer="198.51.100.1")
    statuses(1)
    pass_time(brake.KEPT_FOR * 1.01)
    assert Brake.objects.count() > 3

    sign_in(username="another", peer="192.0.2.7")

    kept = Brake.objects.exclude(known_until=None)
    assert [row.subject for row in kept] == [Subjects.of("ada", "198.51.100.1").pair_key]
    assert Brake.objects.count() == 1 + 3 + 1  # the known pair; the try's three; the count of entries


@pytest.mark.parametrize(
    ("remote", "forwarded", "is_behind_proxy", "peer"),
    [
        ("192.0.2.1", "198.51.100.9", False, "192.0.2.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.9", True, "198.51.100.9"),
        ("10.0.0.1", "198.51.100.9", True, "198.51.100.9"),
        ("10.0.0.1", "", True, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9:50123", True, "198.51.100.9"),
        ("10.0.0.1", "203.0.113.5, [2001:db8:1:2::9]:50123", True, "2001:db8:1:2::/64"),
        ("10.0.0.1", "nonsense", True, "unknown"),
        ("10.0.0.1", "[", True, "unknown"),
        ("2001:db8:1:2:3::4", "", False, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", False, "192.0.2.1"),
        ("fe80::1%eth0", "", False, "fe80::/64"),
        ("", "", False, "unknown"),
    ],
)
def test_peers(settings: Settings, remote: str, forwarded: str, is_behind_proxy: bool, peer: str) -> None:
    settings.IS_BEHIND_PROXY = is_behind_proxy
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory(REMOTE_ADDR=remote).get("/", headers=headers)

    assert peer_of(request) == peer


@pytest.mark.django_db
def test_the_old_password_of_a_change_is_behind_the_same_brake(client: Client) -> None:
    user = make_user("viewer", username="ada", password=RIGHT)
    client.force_login(user)
    change = {"old_password": "wrong", "new_password1": "another horse", "new_password2": "another horse"}

    answers = [client.post("/admin/password_change/", change) for _ in range(PAIR_LIMIT.free_count + 1)]

    assert [each.status_code for each in answers] == [200] * PAIR_LIMIT.free_count + [429]
    assert int(answers[-1]["Retry-After"]) > 0
    user.refresh_from_db()
    assert user.check_password(RIGHT)


def test_waits_in_words() -> None:
    assert [words_of(n) for n in (1, 15, 119, 120, 121, 900)] == [
        "1 second", "15 seconds", "119 seconds", "2 minutes", "3 minutes", "15 minutes",
    ]  # fmt: skip
    assert Limit(1, timedelta(seconds=1), timedelta(minutes=1)).wait_after(10**6) == timedelta(minutes=1)


def _token(page: str) -> str:
    return page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
