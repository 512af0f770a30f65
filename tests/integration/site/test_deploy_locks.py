"""`manage.py deploy` of folders with requirements: locked once, kept while the folder stays, refused with reasons."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.runs.models import Deployment
from tests.wheels import install_from, make_wheel

pytestmark = pytest.mark.django_db

CODE = """\
import tinyshop
from trigger_sdk import task

@task(id="sell")
def sell():
    return tinyshop.VERSION
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_from(monkeypatch, tmp_path / "wheels", tmp_path / "cache")
    make_wheel(tmp_path / "wheels", "tinyshop", "1.0")
    return tmp_path / "wheels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "tasks.py").write_text(CODE)
    (root / "requirements.txt").write_text("tinyshop\n")
    return root


def deploy(folder: Path, *options: str) -> str:
    out = StringIO()
    call_command("deploy", str(folder), *options, stdout=out)
    return out.getvalue()


def test_deployed_folder_keeps_its_versions_until_it_is_upgraded(folder: Path, wheels: Path) -> None:
    deploy(folder)
    make_wheel(wheels, "tinyshop", "2.0")

    assert deploy(folder) == "shop v1 is unchanged.\n"
    assert deploy(folder, "--upgrade") == "Deployed shop v2: sell.\n"

    first, second = Deployment.objects.order_by("version")
    assert "tinyshop==1.0" in (first.lock or "")
    assert "tinyshop==2.0" in (second.lock or "")
    assert bytes(first.content_hash) == bytes(second.content_hash)


@pytest.mark.usefixtures("wheels")
def test_what_cannot_be_installed_is_not_deployed_and_the_reason_is_told(folder: Path) -> None:
    (folder / "requirements.txt").write_text("tinyshop==9\n")

    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("deploy", str(folder), "--json", stdout=out)

    (error,) = json.loads(out.getvalue())["errors"]
    assert "requirements.txt could not be locked" in error["message"]
    assert "tinyshop==9" in error["message"]
    assert not Deployment.objects.exists()
