"""The web process's entry: Django answers HTTP, Channels carries the live pages' sockets.

Sockets are accepted only from our own origin and carry the signed-in user; `apps/live/routing.py` lists them. Both are
wrapped by the probes and the answers for when the database is away. The server reports its start and stop (lifespan),
which start and stop the watch of the database.
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trigger_site.settings")
http = get_asgi_application()

# These import models, so they may be imported only after Django is set up.
from apps.live.routing import websocket_urlpatterns  # noqa: E402
from trigger_site.edge.away import AnswersWhileAway, no_such_socket  # noqa: E402
from trigger_site.edge.lifespan import Lifespan  # noqa: E402
from trigger_site.edge.probes import Probes  # noqa: E402
from trigger_site.web.answer_headers import AnswerHeaders  # noqa: E402
from trigger_site.web.body_limit import BodyLimit  # noqa: E402
from trigger_site.web.origins import OwnOriginOnly  # noqa: E402
from trigger_site.web.short_way import ApiHandler, with_short_way  # noqa: E402

sockets = URLRouter([*websocket_urlpatterns, re_path(r"", no_such_socket)])  # type: ignore[arg-type]  # no view
site = AnswersWhileAway(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(with_short_way(http, ApiHandler())),
            "websocket": OwnOriginOnly(AuthMiddlewareStack(sockets)),
        }
    )
)
application = Lifespan(AnswerHeaders(Probes(site, site.watch)), site.watch)
