"""Whether the static files that production serves have been collected since the last update."""

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage


def uncollected_file() -> str:
    """The first file that the pages may name and the manifest does not know; empty where all are collected.

    A page that names such a file cannot be rendered. Files that changed under the same name are not noticed.
    """
    if not isinstance(staticfiles_storage, ManifestFilesMixin):
        return ""
    hashed, _ = staticfiles_storage.load_manifest()
    names = (name for finder in get_finders() for name, _ in finder.list([]))
    return next((name for name in names if name not in hashed), "")
