"""Our templates without their indentation, which is for those who read the source: a quarter of a long page else.

Text of strangers is not touched, because it is no part of a source. In a source, what keeps its spaces on the page (as
`<pre>`) is written on one line anyway.
"""

import re

from django.template import Origin
from django.template.loaders.filesystem import Loader as FilesystemLoader

INDENTATION = re.compile(r"\n[ \t]+")


class Loader(FilesystemLoader):
    def get_contents(self, origin: Origin) -> str:
        return INDENTATION.sub("\n", super().get_contents(origin))
