from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "apps.workers"
    label = "workers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.runs.fleet import register_fleet_reader
        from apps.workers.fleet import WorkerFleet

        register_fleet_reader(WorkerFleet())
