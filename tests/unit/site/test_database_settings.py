"""What of the database's address and of the product's own bounds reaches every connection of Django."""

import json
import os
import subprocess
import sys
from typing import Any

from django.conf import settings

SHOW = "import json; from trigger_site import settings; print(json.dumps(settings.DATABASES['default']))"


def database(url: str, **variables: str) -> dict[str, Any]:
    """The settings of a process that was started with this address."""
    environment = {**os.environ, "TRIGGER_DATABASE_URL": url, **variables}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_options_of_the_address_are_kept_beside_the_timeouts() -> None:
    options = database("postgres://u:p@h/db?sslmode=require&options=-c%20search_path%3Dx")["OPTIONS"]

    assert options["sslmode"] == "require"
    assert "-c lock_timeout=1000" in options["options"]
    assert options["options"].endswith("-c search_path=x")


def test_nothing_is_set_for_sessions_behind_a_pooler() -> None:
    found = database("postgres://u:p@pooler/db", TRIGGER_LISTEN_DATABASE_URL="postgres://u:p@h/db")

    assert found["OPTIONS"]["options"] == ""
    assert found["OPTIONS"]["prepare_threshold"] is None
    assert found["DISABLE_SERVER_SIDE_CURSORS"] is True
