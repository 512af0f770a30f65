"""Addresses of what a person does with dead letters, and with tasks that are to wait."""

from django.urls import path

from apps.queues import views
from apps.queues.dead_letters import views as dead_letter_views

app_name = "queues"

dead_letters = [
    path("runs/<str:run_id>/requeue/new", dead_letter_views.requeue_form, name="requeue-form"),
    path("runs/<str:run_id>/requeue", dead_letter_views.requeue_run, name="requeue"),
]
tasks = [
    path("tasks/<str:task_id>/pause", views.pause_task, name="task-pause"),
    path("tasks/<str:task_id>/resume", views.resume_task, name="task-resume"),
    path("tasks/<str:task_id>/cool-down/lift", views.lift_task_cooldown, name="cooldown-lift"),
]

urlpatterns = [*dead_letters, *tasks]
