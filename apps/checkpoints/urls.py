"""Addresses of what a run has saved and of its replays; fragments have names of their own."""

from django.urls import path

from apps.checkpoints.inspector import views as inspector_views
from apps.checkpoints.replay import views as replay_views

app_name = "checkpoints"

inspector = [
    path("runs/<str:run_id>/checkpoints", inspector_views.checkpoint_list, name="list"),
    path("runs/<str:run_id>/checkpoints/tail", inspector_views.checkpoint_tail, name="tail"),
    path("runs/<str:run_id>/checkpoints/steps", inspector_views.checkpoint_steps, name="steps"),
    path("runs/<str:run_id>/checkpoints/<int:index>", inspector_views.checkpoint_data, name="data"),
    path("runs/<str:run_id>/checkpoints/<int:index>/carried", inspector_views.checkpoint_carried, name="carried"),
]
replays = [
    path("runs/<str:run_id>/replays/new", replay_views.replay_form, name="replay-form"),
    path("runs/<str:run_id>/replays/preview", replay_views.replay_preview, name="replay-preview"),
    path("runs/<str:run_id>/replays/payload", replay_views.payload_field, name="payload-field"),
    path("runs/<str:run_id>/replays/data/<int:index>", replay_views.data_field, name="data-field"),
    path("runs/<str:run_id>/replays", replay_views.replay_run, name="replays"),
]

urlpatterns = [*inspector, *replays]
