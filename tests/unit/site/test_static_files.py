"""The static files as production serves them: hashed names, every address inside them found."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.templatetags.static import static

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def collected(settings: Any, tmp_path: Path) -> Path:
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_style_sheets_import_hashed_files(collected: Path) -> None:
    sheet = collected / Path(static("css/app.css")).relative_to("/static")

    text = sheet.read_text()

    assert "layer(components)" in text
    assert 'url("components/badge.css")' not in text
    assert "components/badge." in text


def test_every_script_and_style_sheet_is_used(collected: Path) -> None:
    base = (ROOT / "templates/base.html").read_text()
    sheets = (ROOT / "static/css/app.css").read_text()

    for script in (ROOT / "static/js").glob("*.js"):
        assert f"js/{script.name}" in base
    for sheet in (ROOT / "static/css/components").glob("*.css"):
        assert f"components/{sheet.name}" in sheets
