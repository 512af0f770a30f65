"""Prepares production's static files: all style sheets in one, and a check that they were collected at all.

Development serves the files as they are, so there is nothing to build while working on them. Nothing is minified: once
compressed, it would save a twentieth, and a minifier changed what selectors inside a layer mean.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from whitenoise.storage import CompressedManifestStaticFilesStorage

SHEET = "css/app.css"
IMPORT = re.compile(r'@import url\("(?P<name>[^"]+)"\) layer\((?P<layer>[\w-]+)\);')
ADDRESS = re.compile(r'url\("(?P<address>[^"#:]+)"\)')

Found = dict[str, tuple[Any, str]]
"""The collected files by name: storage, and path in it."""


class BundledStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # untyped base
    """Hashed and compressed files, with the imports of `app.css` inlined.

    The bundle is built from the sources, not from an earlier collection's output.
    """

    def post_process(self, paths: Found, *args: Any, **options: Any) -> Iterator[tuple[str, str, bool]]:
        made = InMemoryStorage()
        made.save(SHEET, ContentFile(bundle(SHEET, lambda name: _text(paths, name)).encode()))
        yield from super().post_process({**paths, SHEET: (made, SHEET)}, *args, **options)


def bundle(sheet: str, read: Callable[[str], str]) -> str:
    """Returns a style sheet with each import replaced by its text, in the layer that the import names."""

    def part(found: re.Match[str]) -> str:
        name = posixpath.join(posixpath.dirname(sheet), found["name"])
        return f"@layer {found['layer']} {{\n{_moved(read(name), name, sheet)}\n}}"

    return IMPORT.sub(part, read(sheet))


def _moved(text: str, origin: str, target: str) -> str:
    """Returns a sheet's text with its relative addresses rewritten for the sheet that includes it."""

    def moved(found: re.Match[str]) -> str:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), found["address"]))
        return f'url("{posixpath.relpath(file, posixpath.dirname(target))}")'

    return ADDRESS.sub(moved, text)


def _text(paths: Found, name: str) -> str:
    storage, path = paths[name]
    with storage.open(path) as file:
        return str(file.read().decode())


def uncollected_file() -> str:
    """Returns the first file that pages may name but the manifest lacks; empty if all are collected.

    A page that names such a file cannot be rendered. Changed files of the same name go unnoticed.
    """
    if not isinstance(staticfiles_storage, ManifestFilesMixin):
        return ""
    hashed, _ = staticfiles_storage.load_manifest()
    names = (name for finder in get_finders() for name, _ in finder.list([]))
    return next((name for name in names if name not in hashed), "")
