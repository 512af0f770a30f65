"""The project as an app: it owns the commands and the system checks."""

from django.apps import AppConfig


class TriggerSiteConfig(AppConfig):
    name = "trigger_site"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate, pre_migrate

        from trigger_site import checks  # noqa: F401 - importing registers them
        from trigger_site.timeouts import lengthen_for_migrations, restore_after_migrations

        pre_migrate.connect(lengthen_for_migrations)
        post_migrate.connect(restore_after_migrations)
