"""The options of uvicorn that web and coordinator share, and those by which a connection is guarded."""

from functools import partial
from typing import Any

import uvicorn

from trigger_site.edge.gate import Gate
from trigger_site.edge.limits import Limits, limits_from_settings
from trigger_site.edge.protocol import GuardedProtocol

SOCKET_MESSAGE_BYTES = 64 * 1024
"""Of a WebSocket: pages send lists of topics."""


def guarded(app: Any, *, limits: Limits | None = None, **options: Any) -> uvicorn.Config:
    """The configuration of a guarded server; `options` are uvicorn's."""
    gate = Gate(limits or limits_from_settings())
    return uvicorn.Config(
        app,
        http=partial(GuardedProtocol, gate=gate),  # type: ignore[arg-type]  # called, never subclassed
        ws_max_size=SOCKET_MESSAGE_BYTES,
        # A deflate context takes 300 KB per socket, and lets a peer send a thousand times what it pays for.
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Else any local client could name another address as its own; apps/access/peers.py reads the header where it
        # may.
        proxy_headers=False,
        **options,
    )
