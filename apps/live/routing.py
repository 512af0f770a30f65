"""WebSocket addresses of the dashboard; `trigger_site/asgi.py` mounts them behind origin and session checks."""

from typing import Any

from django.urls import path

from apps.live.sockets import DashboardConsumer

websocket_urlpatterns: list[Any] = [path("ws/dashboard", DashboardConsumer.as_asgi())]
