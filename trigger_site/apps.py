"""The project as an app: it owns the commands and the system checks."""

from django.apps import AppConfig


class TriggerSiteConfig(AppConfig):
    name = "trigger_site"

    def ready(self) -> None:
        from trigger_site import checks  # noqa: F401 - importing registers them
