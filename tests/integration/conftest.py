import pytest

from tests.sql_marks import is_in_sql_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_in_sql_folder(item.path):
            item.add_marker(pytest.mark.sql)
