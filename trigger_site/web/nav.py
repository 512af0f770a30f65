"""The sidebar's pages: one list that gives the links, their marks and the keyboard sheet.

One line in `NAV` puts a page into the sidebar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from apps.access.guards import actor_of
from apps.access.permissions import Action, is_allowed


@dataclass(frozen=True, slots=True)
class NavItem:
    """A page and those below its address: `g` then `key` goes there; shown only to those who may do `action`."""

    label: str
    url_name: str
    icon: str
    key: str
    action: Action


@dataclass(frozen=True, slots=True)
class NavSection:
    """Pages that belong together; the first section has no heading."""

    heading: str
    items: tuple[NavItem, ...]


NAV = (
    NavSection(
        "",
        (
            NavItem("Runs", "runs:list", "list", "r", Action.RUNS_READ),
            NavItem("Tasks", "runs:tasks", "workflow", "t", Action.TASKS_READ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Link:
    """An item as drawn; `current` is the value of `aria-current`, empty for all but one."""

    label: str
    address: str
    icon: str
    key: str
    current: str


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    links: tuple[Link, ...]


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `nav` is built on first use, so fragments pay nothing for it."""
    return {"nav": SimpleLazyObject(lambda: sections_for(request))}


def sections_for(request: HttpRequest, nav: Sequence[NavSection] = NAV) -> list[Section]:
    """Returns what this viewer may open, marking the page that the request is on or below."""
    actor = actor_of(request)
    allowed = [
        (section.heading, [(item, reverse(item.url_name)) for item in section.items if is_allowed(actor, item.action)])
        for section in nav
    ]
    place = nearest(request.path, [address for _, items in allowed for _, address in items])
    return [
        Section(heading, tuple(_link(item, address, place, request.path) for item, address in items))
        for heading, items in allowed
        if items
    ]


def nearest(path: str, addresses: Sequence[str]) -> str:
    """Returns the longest of the addresses that equals the path or is above it; empty if there is none."""
    above = (address for address in addresses if path == address or path.startswith(f"{address.rstrip('/')}/"))
    return max(above, key=len, default="")


def _link(item: NavItem, address: str, place: str, path: str) -> Link:
    current = "" if address != place else "page" if path == address else "true"
    return Link(item.label, address, item.icon, item.key, current)
