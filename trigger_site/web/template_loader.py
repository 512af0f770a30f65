"""Loads our templates without indentation, which only readers of the source need: a quarter of a long page.

Inserted text is untouched, because it is not part of a template. Template text that keeps its spaces on the page
(such as `<pre>`) is written on one line anyway.
"""

import re

from django.template import Origin
from django.template.loaders.filesystem import Loader as FilesystemLoader

INDENTATION = re.compile(r"\n[ \t]+")


class Loader(FilesystemLoader):
    def get_contents(self, origin: Origin) -> str:
        return INDENTATION.sub("\n", super().get_contents(origin))
