from django.apps import AppConfig


class QueuesConfig(AppConfig):
    name = "apps.queues"
    label = "queues"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.queues.admission import DepthLimits
        from apps.queues.waiting import QueueReasons
        from apps.runs.trigger.admission import register_admission_bound
        from apps.runs.waiting import register_waiting_reader

        register_waiting_reader(QueueReasons())
        register_admission_bound(DepthLimits())
