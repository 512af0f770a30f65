"""The client for programs outside tasks, over the HTTP API. Tasks themselves never use it: they have no key.

`AsyncClient` is `Client` with `await`.
"""

from typing import TYPE_CHECKING, Any

from trigger_sdk.client.client import Client, Run
from trigger_sdk.client.http_api import ApiError, ClientError, NotConfigured, Unreachable

if TYPE_CHECKING:
    from trigger_sdk.client.async_client import AsyncClient

__all__ = ["ApiError", "AsyncClient", "Client", "ClientError", "NotConfigured", "Run", "Unreachable"]


def __getattr__(name: str) -> Any:
    # Importing asyncio takes longer than running a whole command of the command line.
    if name == "AsyncClient":
        from trigger_sdk.client import async_client

        return async_client.AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
