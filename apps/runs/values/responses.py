"""Answers that show a stored value: the whole tree, a branch of it, one text, or the raw file. Reads no rows."""

from collections.abc import Callable
from typing import TypeVar

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from apps.runs.values.tree import Node, PathInvalid, branch, full_text, parse, tree

INLINE_BYTES = 200_000
"""A larger value is drawn when a person asks for it, so that opening the page stays quick."""

T = TypeVar("T")


def value_context(text: str | None, url: str) -> dict[str, object] | None:
    """What `_value.html` draws; a large value is drawn at the first click."""
    if text is None:
        return None
    size = len(text.encode())
    return {"root": _tree(text) if size <= INLINE_BYTES else None, "size": size, "url": url}


def value_response(request: HttpRequest, text: str, *, file_name: str) -> HttpResponse:
    """A stored value by the parameters of the address: the whole tree, a branch of it, one text, or the raw file."""
    if "raw" in request.GET:
        return HttpResponse(
            text,
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
        )
    path, offset = request.GET.get("path", ""), request.GET.get("offset", "0")
    url = request.path
    if "text" in request.GET:
        return HttpResponse(_answer(lambda: full_text(parse(text), path)), content_type="text/plain; charset=utf-8")
    if "path" in request.GET:
        start = int(offset) if offset.isdecimal() and len(offset) < 9 else 0
        node = _answer(lambda: branch(parse(text), path, start))
        context = {"node": node, "url": url, "next_offset": next_offset(node, start)}
        return render(request, "runs/values/_json_children.html", context)
    return render(request, "runs/values/_json_root.html", {"root": _tree(text), "url": url})


def next_offset(node: Node, start: int) -> int | None:
    shown = start + len(node.children)
    return shown if shown < node.child_count else None


def _answer(read: Callable[[], T]) -> T:
    try:
        return read()
    except (PathInvalid, ValueError) as error:
        raise Http404("There is nothing at that path.") from error


def _tree(text: str) -> Node:
    return tree(parse(text))
