import pytest
from django.test import Client

from tests.factories import (
    make_run,
)
from tests.integration.runs.pages import HTMX

pytestmark = pytest.mark.django_db


def test_values_are_exact(viewer: Client) -> None:
    text = '{"big":18446744073709551617,"float":1e16,"decimal":{"$type":"decimal","value":"10.10"}}'
    run = make_run(state="completed", payload=text, output="-0.0")

    page = viewer.get(f"/runs/{run.public_id}/values").text
    raw = viewer.get(f"/runs/{run.public_id}/values/payload?raw")

    for shown in ("18446744073709551617", "1e16", "10.10", "Decimal", "-0.0"):
        assert shown in page
    assert raw.text == text
    assert raw["Content-Disposition"].startswith("attachment")


def test_large_value_is_drawn_on_demand(viewer: Client) -> None:
    text = '{"items":[' + ",".join(f'{{"n":{n}}}' for n in range(100_000)) + "]}"
    run = make_run(state="completed", payload=text)

    closed = viewer.get(f"/runs/{run.public_id}/values").text
    opened = viewer.get(f"/runs/{run.public_id}/values/payload", headers=HTMX).text
    branch = viewer.get(f"/runs/{run.public_id}/values/payload?path=0&offset=99960", headers=HTMX).text

    assert "Show 1.2 MB" in closed
    assert len(closed) < 50_000
    assert len(opened) < 200_000
    assert "99999" in branch
    assert viewer.get(f"/runs/{run.public_id}/values/payload?path=7.7").status_code == 404
