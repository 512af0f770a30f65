"""Addresses of the runs' and tasks' pages, page by page; fragments have names of their own."""

from django.urls import path

from apps.runs.list import views as list_views
from apps.runs.run_page import views as run_views
from apps.runs.tasks import views as task_views
from apps.runs.values import views as value_views

app_name = "runs"

list_page = [
    path("", list_views.home, name="home"),
    path("runs", list_views.run_list, name="list"),
    path("runs/rows", list_views.run_rows, name="rows"),
    path("runs/newer", list_views.newer_runs, name="newer"),
]
run_page = [
    path("runs/<str:run_id>", run_views.run_page, name="detail"),
    path("runs/<str:run_id>/summary", run_views.summary_fragment, name="summary"),
    path("runs/<str:run_id>/log-lines", run_views.log_fragment, name="log-lines"),
    path("runs/<str:run_id>/cancellation", run_views.run_cancellation, name="cancellation"),
]
values = [
    path("runs/<str:run_id>/values", value_views.run_values, name="values"),
    path("runs/<str:run_id>/output", value_views.run_output, name="output"),
    path("runs/<str:run_id>/values/<str:name>", value_views.run_value, name="value"),
]
tasks_page = [path("tasks", task_views.task_list, name="tasks")]

urlpatterns = [*list_page, *run_page, *values, *tasks_page]
