"""Tells who is at the other end of a request, as far as the network shows."""

from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "unknown"
IPV6_PREFIX_BITS = 64
"""The network of a provider's single customer; counting single addresses within it would be useless."""


def peer_of(request: HttpRequest) -> str:
    """Returns the peer's IPv4 address or IPv6 network, `unknown` if there is none (a unix socket).

    Behind a proxy the last address in `X-Forwarded-For` counts, the one the proxy itself saw: the client may have
    made up the others. Without TRIGGER_BEHIND_PROXY the header is not read at all.
    """
    text = str(request.META.get("REMOTE_ADDR", ""))
    if settings.IS_BEHIND_PROXY:
        text = request.headers.get("X-Forwarded-For", "").rpartition(",")[2] or text
    try:
        address = ip_address(_without_port(text.strip()).partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)


def _without_port(text: str) -> str:
    """Strips the port: some proxies write `192.0.2.1:443` and `[2001:db8::1]:443`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
