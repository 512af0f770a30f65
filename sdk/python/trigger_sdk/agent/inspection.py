"""`inspect FOLDER [FILE …]`: imports a task folder in this process and prints its manifest as JSON on stdout."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from trigger_sdk.agent.loader import (
    CONFIG_NAME,
    SHOWN_MODULES,
    FolderError,
    TaskFolder,
    import_module,
    loaded_from,
    modules_line,
    problems_of,
    read_files,
    read_folder,
    relative,
    unlisted_modules,
)
from trigger_sdk.errors import Problem, RegistrationError


def inspect(path: str, files: Sequence[str] = ()) -> int:
    """Prints the manifest; returns 1 if it has errors. What the task code prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    manifest = manifest_of(path, files)
    sys.stdout.flush()
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
    return 1 if manifest["errors"] else 0


def manifest_of(path: str, files: Sequence[str] = ()) -> dict[str, Any]:
    """`{name, tasks, errors, hints}` of the folder, or of some of its files, as described in `docs/protocol.md`."""
    try:
        folder = read_files(path, files) if files else read_folder(path)
    except FolderError as error:
        return _manifest(os.path.basename(os.path.realpath(path)), [], [error.problem])
    problems = _import_all(folder)
    from trigger_sdk.tasks import registry

    tasks: list[dict[str, Any]] = []
    for task in registry.values():
        try:
            task.check_late()
            tasks.append({**task.describe(), "file": relative(folder, task.file)})
            problems += _relative(folder, task.hints())
        except RegistrationError as error:
            problems += problems_of(folder, "", error)
    others = [] if files or folder.is_listed else unlisted_modules(folder)
    if not tasks and not problems:
        problems.append(Problem(".", 1, 1, "no_tasks", _no_tasks(folder, others)))
    elif others:
        shown = ", ".join(others[:SHOWN_MODULES])
        message = f"nothing imports {shown}, which define tasks: write {modules_line(folder, others)} in {CONFIG_NAME}"
        problems.append(Problem(CONFIG_NAME, 1, 1, "unlisted_module", message, severity="hint"))
    return _manifest(folder.name, tasks, problems)


def _manifest(name: str, tasks: list[dict[str, Any]], problems: list[Problem]) -> dict[str, Any]:
    rows = [problem._asdict() for problem in sorted(set(problems))]
    errors = [row for row in rows if row["severity"] == "error"]
    hints = [row for row in rows if row["severity"] == "hint"]
    return {"name": name, "tasks": tasks, "errors": errors, "hints": hints}


def _import_all(folder: TaskFolder) -> list[Problem]:
    from trigger_sdk.tasks import checkpoints_outside_tasks, collected_problems

    problems: list[Problem] = []
    with collected_problems() as collected:
        for module in folder.modules:
            try:
                import_module(folder, module)
            except (Exception, SystemExit) as error:  # task code may raise anything on import
                problems += problems_of(folder, module, error)
    for loaded in loaded_from(folder):
        collected += checkpoints_outside_tasks(loaded)
    return problems + _relative(folder, collected)


def _relative(folder: TaskFolder, problems: Sequence[Problem]) -> list[Problem]:
    return [problem._replace(file=relative(folder, problem.file)) for problem in problems]


def _no_tasks(folder: TaskFolder, others: Sequence[str]) -> str:
    if others:
        shown = ", ".join(others[:SHOWN_MODULES])
        return f"the tasks of this folder are in {shown}: write {modules_line(folder, others)} in {CONFIG_NAME}"
    if not folder.modules:
        return "no file here mentions trigger_sdk: write a function with @task(...), or list its file in trigger.toml"
    return f"no function with @task(id=...) in {', '.join(folder.modules)}: write one, or list its file in trigger.toml"
