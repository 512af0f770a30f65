"""The web process's entry: Django answers HTTP, Channels carries the live pages' sockets.

Sockets are accepted from our own origin only and carry the signed-in user; which sockets there are is in
`apps/runs/routing.py`.
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
http = get_asgi_application()

# These import models, so they may be imported only when Django is set up.
from apps.runs.routing import websocket_urlpatterns  # noqa: E402
from trigger_site.answer_headers import AnswerHeaders  # noqa: E402
from trigger_site.api_handler import ApiHandler, with_short_way  # noqa: E402
from trigger_site.body_limit import BodyLimit  # noqa: E402
from trigger_site.origins import OwnOriginOnly  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(with_short_way(http, ApiHandler())),
        "websocket": OwnOriginOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
application = AnswerHeaders(application)
