import pytest
from django.test import Client

from apps.access.sign_in import sign_in_link
from tests.factories import make_user
from tests.markup import one_line

POSTS = [
    "/sign-out",
    "/runs/run_x/cancellation",
    "/runs/run_x/replays",
    "/runs/run_x/replays/preview",
    "/runs/run_x/requeue",
    "/tasks/noop/pause",
    "/tasks/noop/resume",
    "/tasks/noop/cool-down/lift",
    "/admin/password_change/",
    "/admin/queues/deadletter/",
    "/admin/logout/",
]

pytestmark = pytest.mark.django_db


def link_for(username: str) -> str:
    return sign_in_link(make_user(username=username), "")


def test_password_signs_in_and_returns_to_the_page_that_was_asked(client: Client) -> None:
    make_user("viewer", username="ada", password="correct horse")

    answer = client.post("/sign-in?next=/tasks", {"username": "ada", "password": "correct horse", "next": "/tasks"})

    assert answer["Location"] == "/tasks"


@pytest.mark.parametrize(
    "next_page",
    [
        "https://evil.example/",
        "http://evil.example",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        " //evil.example",
        "\x00//evil.example",
        "\x08//evil.example",
        "\n//evil.example",
        "https:evil.example",
        "https:/evil.example",
        "http:///evil.example",
        "HTTPS://EVIL.EXAMPLE",
        "https://testserver@evil.example/",
        "https://testserver.evil.example/",
        "https://evil.example#testserver",
        "https://evil.example\\@testserver",
        "http://[::1]@evil.example",
        "http://[evil",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "ftp://testserver/",
        "blob:http://testserver/x",
        "/sign-in",
        "/sign-in?next=/sign-in",
        "/sign-in#x",
        "/sign-out",
    ],
)
def test_next_leads_nowhere_but_to_another_page_of_this_site(client: Client, next_page: str) -> None:
    make_user("viewer", username="ada", password="correct horse")
    form = {"username": "ada", "password": "correct horse", "next": next_page}

    assert client.post("/sign-in", form)["Location"] == "/runs"
    assert client.get("/sign-in", {"next": next_page})["Location"] == "/runs"  # who has signed in goes on at once


def test_signing_in_changes_the_session_and_a_new_password_ends_the_others() -> None:
    make_user("viewer", username="ada", password="correct horse")
    form = {"username": "ada", "password": "correct horse"}
    here, elsewhere = Client(), Client()
    keys = set()
    for client in (here, elsewhere):
        client.post("/sign-in", form)
        keys.add(client.session.session_key)
        client.post("/sign-out")
        client.post("/sign-in", form)
        keys.add(client.session.session_key)
    assert len(keys) == 4

    changed = {"old_password": "correct horse", "new_password1": "another horse", "new_password2": "another horse"}
    assert here.post("/admin/password_change/", changed).status_code == 302

    assert here.get("/runs").status_code == 200
    assert elsewhere.get("/runs").status_code == 302


def test_every_post_needs_a_token_of_its_form() -> None:
    client = Client(enforce_csrf_checks=True)
    link = link_for("ada")
    assert client.post("/sign-in", {"username": "ada", "password": "x"}).status_code == 403
    assert client.post(link).status_code == 403

    client.force_login(make_user("admin"))
    posts = [path for path in POSTS if client.post(path).status_code != 403]

    assert posts == []


def test_wrong_password_and_unknown_name_get_the_same_answer(client: Client) -> None:
    make_user(username="ada")

    for username in ("ada", "nobody"):
        answer = client.post("/sign-in", {"username": username, "password": "wrong"})
        assert "do not match" in answer.text


def test_link_shows_a_button_and_signs_in_at_the_post(client: Client) -> None:
    link = link_for("ada")

    shown = client.get(link)
    assert "Continue as ada" in shown.text
    assert client.get("/runs").status_code == 302  # a GET signs nobody in

    assert client.post(link)["Location"] == "/runs"
    assert client.get("/runs").status_code == 200


def test_link_works_once(client: Client) -> None:
    link = link_for("ada")
    client.post(link)

    again = Client().post(link)

    assert again.status_code == 410
    assert "This link has ended" in again.text


@pytest.mark.parametrize("link", ["/sign-in/MQ/nonsense", "/sign-in/%00/x", "/sign-in/OTk5OTk5OTk5OTk5OTk/c1-2"])
def test_false_link_says_how_to_get_a_new_one(client: Client, link: str) -> None:
    answer = client.get(link)

    assert answer.status_code == 410
    assert "make run" in one_line(answer.text)


def test_sign_out_is_a_post(client: Client) -> None:
    client.force_login(make_user())

    assert client.get("/sign-out").status_code == 405
    assert client.post("/sign-out")["Location"] == "/sign-in"
    assert client.get("/runs").status_code == 302
