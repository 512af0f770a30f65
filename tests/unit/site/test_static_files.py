"""The static files as production serves them: one style sheet, hashed names, every address found."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.templatetags.static import static
from django.test import override_settings

from trigger_site.web.static_files import bundle

ROOT = Path(__file__).resolve().parents[3]
SHEETS = ROOT / "static" / "css"


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Without the administration's files, most of all; tests/acceptance/test_production.py has them."""
    folder = tmp_path_factory.mktemp("static")
    backend = {"BACKEND": "trigger_site.web.static_files.BundledStaticFilesStorage"}
    own = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    storages = {**settings.STORAGES, "staticfiles": backend}
    with override_settings(STATIC_ROOT=folder, STORAGES=storages, STATICFILES_FINDERS=own):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield folder


def served(collected: Path, name: str) -> Path:
    return collected / Path(static(name)).relative_to("/static")


def selectors(text: str) -> set[str]:
    """The class selectors of style sheets."""
    return set(re.findall(r"\.[a-z][\w-]*(?=[^{}]*\{)", re.sub(r"/\*.*?\*/|url\([^)]*\)", "", text, flags=re.DOTALL)))


def test_one_style_sheet_holds_all_others(collected: Path) -> None:
    text = served(collected, "css/app.css").read_text()

    assert "@import" not in text
    assert text.startswith("@layer reset, tokens, base, layout, components, pages, overrides;")
    everything = "".join(sheet.read_text() for sheet in SHEETS.rglob("*.css"))
    assert selectors(text) == selectors(everything)
    assert text.index(".badge {") < text.index(".run-head {") < text.index("prefers-reduced-motion")
    assert text.count("{") == text.count("}")


def test_addresses_in_the_style_sheet_are_those_of_hashed_files(collected: Path) -> None:
    sheet = served(collected, "css/app.css")

    addresses = re.findall(r'url\("?([^")]+)"?\)', sheet.read_text())

    files = [address for address in addresses if not address.startswith("#")]
    assert len(files) == 2
    for address in files:
        assert (sheet.parent / address).exists()
        assert re.search(r"\.[0-9a-f]{12}\.woff2$", address)


def test_what_browsers_load_is_compressed(collected: Path) -> None:
    for name in ("css/app.css", *(f"js/{script.name}" for script in (ROOT / "static/js").glob("*.js"))):
        path = served(collected, name)
        plain = path.stat().st_size

        assert path.with_name(f"{path.name}.gz").stat().st_size < plain
        assert path.with_name(f"{path.name}.br").stat().st_size < plain


def test_bundle_is_made_of_the_sources_when_collected_again(collected: Path) -> None:
    first = served(collected, "css/app.css").read_text()

    call_command("collectstatic", interactive=False, verbosity=0)

    assert served(collected, "css/app.css").read_text() == first


def test_addresses_of_an_imported_sheet_are_moved_to_the_bundle() -> None:
    files = {
        "css/app.css": '@layer a, b;\n@import url("pages/run.css") layer(b);\n.own { color: red; }\n',
        "css/pages/run.css": '.x { background: url("../../img/x.svg"), url("#hatch"), url("data:image/gif,R0"); }',
    }

    text = bundle("css/app.css", files.__getitem__)

    assert text.startswith("@layer a, b;\n@layer b {\n.x {")
    assert 'url("../img/x.svg"), url("#hatch"), url("data:image/gif,R0")' in text
    assert text.endswith("}\n.own { color: red; }\n")


def test_every_script_and_style_sheet_is_used() -> None:
    templates = "".join(template.read_text() for template in (ROOT / "templates").rglob("*.html"))
    imports = (SHEETS / "app.css").read_text()

    for script in (ROOT / "static/js").glob("*.js"):
        assert f"js/{script.name}" in templates
    for sheet in SHEETS.rglob("*.css"):
        assert sheet.name == "app.css" or f'"{sheet.relative_to(SHEETS)}"' in imports
