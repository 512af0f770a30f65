import pytest
from django.test import Client

from tests.factories import (
    make_user,
)


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(make_user("viewer"))
    return client


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator", username="olga"))
    return client
