"""`inspect FOLDER`: imports a task folder in this process and prints its manifest as JSON on stdout."""

import json
import os
import sys
from typing import Any

from trigger_sdk.agent.loader import FolderError, TaskFolder, import_module, problems_of, read_folder, relative
from trigger_sdk.errors import Problem, RegistrationError


def inspect(path: str) -> int:
    """Prints the manifest; 1 if the folder has errors. What the task code prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    manifest = manifest_of(path)
    sys.stdout.flush()
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
    return 1 if manifest["errors"] else 0


def manifest_of(path: str) -> dict[str, Any]:
    """`{name, tasks, errors}` of the folder, as `docs/protocol.md` describes it."""
    try:
        folder = read_folder(path)
    except FolderError as error:
        return {"name": os.path.basename(os.path.realpath(path)), "tasks": [], "errors": [_row(error.problem)]}
    problems = _import_all(folder)
    from trigger_sdk.tasks import registry

    tasks: list[dict[str, Any]] = []
    for task in registry.values():
        try:
            tasks.append({**task.describe(), "file": relative(folder, task.file)})
        except RegistrationError as error:
            problems += problems_of(folder, "", error)
    if not tasks and not problems:
        problems.append(Problem(".", 1, 1, "no_tasks", _no_tasks(folder)))
    return {"name": folder.name, "tasks": tasks, "errors": [_row(problem) for problem in problems]}


def _import_all(folder: TaskFolder) -> list[Problem]:
    problems: list[Problem] = []
    for module in folder.modules:
        try:
            import_module(folder, module)
        except (Exception, SystemExit) as error:  # task code may raise anything when it is imported
            problems += problems_of(folder, module, error)
    return problems


def _no_tasks(folder: TaskFolder) -> str:
    if not folder.modules:
        return "no file here mentions trigger_sdk: write a function with @task(...), or name its file in trigger.toml"
    return f"no function with @task(id=...) in {', '.join(folder.modules)}"


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "message": problem.message,
    }
