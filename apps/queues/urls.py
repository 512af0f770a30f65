"""Addresses of what a person does with dead letters."""

from django.urls import path

from apps.queues import views

app_name = "queues"

urlpatterns = [
    path("runs/<str:run_id>/requeue/new", views.requeue_form, name="requeue-form"),
    path("runs/<str:run_id>/requeue", views.requeue_run, name="requeue"),
]
