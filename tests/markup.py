"""HTML as a test compares it: how templates are folded into lines makes no difference."""

import re


def one_line(html: str) -> str:
    """The same markup with single spaces, and none at the inner edges of elements and tags."""
    text = re.sub(r"\s+", " ", html)
    text = re.sub(r" (/?>)", r"\1", text)
    return re.sub(r"(<[^/!][^<>]*>) ", r"\1", text).replace(" </", "</")
