"""Tasks with the versions that deployments hold of them. Reads only."""

from apps.runs.models import Task, TaskVersion
from apps.runs.tasks.terms import refuse_unknown_task


def current_versions() -> list[tuple[Task, TaskVersion]]:
    """Every task with its version in the newest deployment that has it, by id."""
    tasks = {task.id: task for task in Task.objects.order_by("id")}
    versions = TaskVersion.objects.filter(deployment__current_tasks__isnull=False).select_related("deployment")
    found = {(v.task_id, v.deployment_id): v for v in versions.defer("deployment__archive").distinct()}
    return [(task, found[task.id, task.deployment_id]) for task in tasks.values()]


def find_task(task_id: str) -> tuple[Task, list[TaskVersion]]:
    """The task, retired or not, with its versions, newest first; raises TaskNotFound naming near misses."""
    task = Task.objects.filter(id=task_id).first()
    if task is None:
        refuse_unknown_task(task_id)
    versions = TaskVersion.objects.filter(task_id=task_id, deployment__task_set=task.task_set)
    return task, list(
        versions.select_related("deployment").defer("deployment__archive").order_by("-deployment__version")
    )
