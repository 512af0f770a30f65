"""Addresses of what a person does with dead letters, and with tasks that are to wait."""

from django.urls import path

from apps.queues import views

app_name = "queues"

urlpatterns = [
    path("runs/<str:run_id>/requeue/new", views.requeue_form, name="requeue-form"),
    path("runs/<str:run_id>/requeue", views.requeue_run, name="requeue"),
    path("tasks/<str:task_id>/pause", views.pause_task, name="task-pause"),
    path("tasks/<str:task_id>/resume", views.resume_task, name="task-resume"),
    path("tasks/<str:task_id>/cool-down/lift", views.lift_task_cooldown, name="cooldown-lift"),
]
