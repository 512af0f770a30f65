"""The static files that production serves: one style sheet, small scripts, and whether they were collected at all.

Development serves the files as they lie, so there is nothing to build while one works on them.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

import rcssmin
import rjsmin
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from whitenoise.storage import CompressedManifestStaticFilesStorage

SHEET = "css/app.css"
SCRIPTS = "js/"
IMPORT = re.compile(r'@import url\("(?P<name>[^"]+)"\) layer\((?P<layer>[\w-]+)\);')
ADDRESS = re.compile(r'url\("(?P<address>[^"#:]+)"\)')

Found = dict[str, tuple[Any, str]]
"""The collected files: storage and path there, by name."""


class BundledStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # untyped base
    """Hashed and compressed files, with what `app.css` imports put into it and our own scripts minified.

    The bundle is made from the sources, not from what an earlier collection wrote.
    """

    def post_process(self, paths: Found, *args: Any, **options: Any) -> Iterator[tuple[str, str, bool]]:
        made = InMemoryStorage()
        made.save(SHEET, ContentFile(rcssmin.cssmin(bundle(SHEET, lambda name: _text(paths, name))).encode()))
        for name in paths:
            if name.startswith(SCRIPTS):
                made.save(name, ContentFile(rjsmin.jsmin(_text(paths, name)).encode()))
        replaced = {name: (made, name) if made.exists(name) else found for name, found in paths.items()}
        yield from super().post_process(replaced, *args, **options)


def bundle(sheet: str, read: Callable[[str], str]) -> str:
    """A style sheet with each import replaced by its text, in the layer that the import names."""

    def part(found: re.Match[str]) -> str:
        name = posixpath.join(posixpath.dirname(sheet), found["name"])
        return f"@layer {found['layer']} {{\n{_moved(read(name), name, sheet)}\n}}"

    return IMPORT.sub(part, read(sheet))


def _moved(text: str, origin: str, target: str) -> str:
    """The text of a sheet with its relative addresses as the sheet that takes it in has to write them."""

    def moved(found: re.Match[str]) -> str:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), found["address"]))
        return f'url("{posixpath.relpath(file, posixpath.dirname(target))}")'

    return ADDRESS.sub(moved, text)


def _text(paths: Found, name: str) -> str:
    storage, path = paths[name]
    with storage.open(path) as file:
        return str(file.read().decode())


def uncollected_file() -> str:
    """The first file that the pages may name and the manifest does not know; empty where all are collected.

    A page that names such a file cannot be rendered. Files that changed under the same name are not noticed.
    """
    if not isinstance(staticfiles_storage, ManifestFilesMixin):
        return ""
    hashed, _ = staticfiles_storage.load_manifest()
    names = (name for finder in get_finders() for name, _ in finder.list([]))
    return next((name for name in names if name not in hashed), "")
