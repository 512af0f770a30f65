import pytest
from django.test import Client

from apps.access.sign_in import sign_in_link
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def link_for(username: str) -> str:
    return sign_in_link(make_user(username=username), "")


def test_password_signs_in_and_returns_to_the_page_that_was_asked(client: Client) -> None:
    make_user("viewer", username="ada", password="correct horse")

    answer = client.post("/sign-in?next=/tasks", {"username": "ada", "password": "correct horse", "next": "/tasks"})

    assert answer["Location"] == "/tasks"


def test_next_never_leaves_the_site(client: Client) -> None:
    make_user("viewer", username="ada", password="correct horse")

    answer = client.post("/sign-in", {"username": "ada", "password": "correct horse", "next": "https://evil.example/"})

    assert answer["Location"] == "/runs"


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
    assert "make run" in answer.text


def test_sign_out_is_a_post(client: Client) -> None:
    client.force_login(make_user())

    assert client.get("/sign-out").status_code == 405
    assert client.post("/sign-out")["Location"] == "/sign-in"
    assert client.get("/runs").status_code == 302
