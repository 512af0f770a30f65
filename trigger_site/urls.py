"""The site's addresses: the dashboard at the root, the API, Django's admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from trigger_site.web.api import api, api_urlpatterns

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", api.urls),
    *api_urlpatterns,
    path("admin/", admin.site.urls),
    path("", include("apps.access.urls")),
    path("", include("apps.runs.urls")),
    path("", include("apps.checkpoints.urls")),
    path("", include("apps.queues.urls")),
]

handler500 = "trigger_site.web.error_pages.failed"
