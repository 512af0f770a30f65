"""Draws trees of stored values: `{% for step in nodes|steps %}`."""

from collections.abc import Iterable, Iterator

from django import template

from apps.runs.values.tree import Node, Step
from apps.runs.values.tree import steps as steps_of

register = template.Library()


@register.filter
def steps(nodes: Iterable[Node]) -> Iterator[Step]:
    """The nodes with all below them, one after the other."""
    return steps_of(nodes)
