"""Addresses of the runs' and tasks' pages; fragments have names of their own."""

from django.urls import path

from apps.runs.list import views
from apps.runs.values import views as value_views

app_name = "runs"

urlpatterns = [
    path("", views.home, name="home"),
    path("runs", views.run_list, name="list"),
    path("runs/rows", views.run_rows, name="rows"),
    path("runs/newer", views.newer_runs, name="newer"),
    path("runs/<str:run_id>", views.run_detail, name="detail"),
    path("runs/<str:run_id>/summary", views.summary_fragment, name="summary"),
    path("runs/<str:run_id>/log-lines", views.log_fragment, name="log-lines"),
    path("runs/<str:run_id>/values", value_views.run_values, name="values"),
    path("runs/<str:run_id>/output", value_views.run_output, name="output"),
    path("runs/<str:run_id>/values/<str:name>", value_views.run_value, name="value"),
    path("runs/<str:run_id>/cancellation", views.run_cancellation, name="cancellation"),
    path("tasks", views.task_list, name="tasks"),
]
