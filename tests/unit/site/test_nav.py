import pytest

from trigger_site.web.nav import NAV, nearest

ADDRESSES = ["/", "/runs", "/runs/errors", "/tasks"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "/"),
        ("/runs", "/runs"),
        ("/runs/run_1/checkpoints", "/runs"),
        ("/runs/errors", "/runs/errors"),
        ("/runs/errors/7", "/runs/errors"),
        ("/runsome", "/"),
        ("/tasks/", "/tasks"),
    ],
)
def test_path_belongs_to_the_nearest_address_above_it(path: str, place: str) -> None:
    assert nearest(path, ADDRESSES) == place


def test_path_below_no_address_belongs_to_none() -> None:
    assert nearest("/runsome", ["/runs"]) == ""


def test_keys_and_addresses_are_given_once() -> None:
    items = [item for section in NAV for item in section.items]

    assert len({item.key for item in items}) == len(items)
    assert len({item.url_name for item in items}) == len(items)
