"""Addresses of a run's checkpoints and of its replays."""

from django.urls import path

from apps.checkpoints import views

app_name = "checkpoints"

urlpatterns = [
    path("runs/<str:run_id>/checkpoints", views.checkpoint_list, name="list"),
    path("runs/<str:run_id>/checkpoints/tail", views.checkpoint_tail, name="tail"),
    path("runs/<str:run_id>/checkpoints/<int:index>", views.checkpoint_data, name="data"),
    path("runs/<str:run_id>/replays/new", views.replay_form, name="replay-form"),
    path("runs/<str:run_id>/replays", views.replay_run, name="replays"),
]
