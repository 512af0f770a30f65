"""The uvicorn options that web and coordinator share, and those that guard a connection."""

from functools import partial
from typing import Any

import uvicorn

from trigger_site.edge.gate import Gate
from trigger_site.edge.limits import Limits, limits_from_settings
from trigger_site.edge.protocol import GuardedProtocol

SOCKET_MESSAGE_BYTES = 64 * 1024
"""For a WebSocket: pages send lists of topics."""


def guarded(app: Any, *, limits: Limits | None = None, **options: Any) -> uvicorn.Config:
    """Returns the configuration of a guarded server; `options` are uvicorn's."""
    gate = Gate(limits or limits_from_settings())
    return uvicorn.Config(
        app,
        http=partial(GuardedProtocol, gate=gate),  # type: ignore[arg-type]  # called, never subclassed
        ws_max_size=SOCKET_MESSAGE_BYTES,
        # A deflate context takes 300 KB per socket, and lets a peer expand what it sends a thousandfold.
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Otherwise any local client could claim another address; apps/access/peers.py reads the header when
        # that is safe.
        proxy_headers=False,
        **options,
    )
