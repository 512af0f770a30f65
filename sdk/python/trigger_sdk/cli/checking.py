"""`trigger check`: runs the check at registration on task folders and files, and prints as a compiler would.

Each folder is imported in its own process, as a worker would import it. docs/check.md describes the codes.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trigger_sdk.agent.loader import root_of
from trigger_sdk.cli.display import Display, printable
from trigger_sdk.cli.errors import UsageError
from trigger_sdk.errors import Problem

SDK_FOLDER = Path(__file__).resolve().parent.parent.parent
_COLOURS = {"error": "red", "hint": "yellow"}


def check(options: argparse.Namespace, display: Display) -> int:
    """Prints every problem of every task; returns 1 if any is an error, 0 if there are only hints or none."""
    problems: list[Problem] = []
    tasks: list[dict[str, Any]] = []
    for folder, files in _targets(options.paths):
        manifest = _inspect(folder, files)
        problems += [_problem(folder, row) for row in [*manifest["errors"], *manifest["hints"]]]
        tasks += [{**task, "file": _shown(folder, task["file"])} for task in manifest["tasks"]]
    problems = sorted(set(problems))
    if display.is_json:
        display.value({"problems": [problem._asdict() for problem in problems], "tasks": tasks})
    else:
        _print(problems, tasks, display)
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _targets(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The folders to import, each with the files that were named; no files means all its modules."""
    found: dict[str, tuple[str, list[str]]] = {}
    files: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found.setdefault(os.path.realpath(path), (path, []))
        elif not os.path.isfile(path):
            raise UsageError(f"{path}: there is no such file or folder")
        elif not path.endswith(".py"):
            raise UsageError(f"{path}: must be a folder or a .py file")
        else:
            files.append(path)
    whole = set(found)
    for path in files:
        root = root_of(path)
        if root not in whole:
            found.setdefault(root, (_near(root, path), []))[1].append(path)
    return list(found.values())


def _near(root: str, path: str) -> str:
    """A file's root as a person would write it: as typed if that is above the file, else relative to here."""
    for above in Path(path).parents:
        if os.path.realpath(above) == root:
            return str(above)
    return os.path.relpath(root)


def _inspect(folder: str, files: Sequence[str]) -> dict[str, Any]:
    start = f"import sys; sys.path.insert(0, {str(SDK_FOLDER)!r}); "
    start += "from trigger_sdk.agent.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-I", "-c", start, "inspect", folder, *files]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        manifest: dict[str, Any] = json.loads(answer.stdout)
    except ValueError:
        message = f"the tasks' own code ended the check (exit code {answer.returncode}): do not end the process there"
        file = os.path.relpath(os.path.realpath(files[0]), os.path.realpath(folder)) if len(files) == 1 else "."
        problem = Problem(file, 1, 1, "import_exit", message)
        manifest = {"tasks": [], "errors": [problem._asdict()], "hints": []}
    return manifest


def _problem(folder: str, row: dict[str, Any]) -> Problem:
    problem = Problem(**row)
    return problem._replace(file=_shown(folder, problem.file))


def _shown(folder: str, file: str) -> str:
    """The path of a file relative to the current folder if it is below that, else as it was typed."""
    path = os.path.normpath(os.path.join(folder, file))
    from_here = os.path.relpath(path)
    return path if from_here.startswith(os.pardir) else from_here


def _print(problems: Sequence[Problem], tasks: Sequence[dict[str, Any]], display: Display) -> None:
    for problem in problems:
        place = display.paint(f"{problem.file}:{problem.line}:{problem.column}:", "bold")
        severity = display.paint(f"{problem.severity}:", _COLOURS[problem.severity])
        # A message may quote an exception of the user's code; one problem is one line.
        message = printable(" ".join(problem.message.split()))
        display.text(f"{place} {severity} {message} {display.paint(f'[{problem.code}]', 'grey')}")
    counts = {severity: sum(problem.severity == severity for problem in problems) for severity in _COLOURS}
    if not counts["error"]:
        for task in tasks:
            keys = ", ".join(point["key"] for point in task["resume_points"]) or "no checkpoints"
            display.text(f"{display.paint('✔', 'green')} {task['id']}  {printable(keys)}")
            for name, points in _made_again(task).items():
                after = printable(", ".join(points))
                display.text(f"  `{name}` is made again by a resume from {after}: its effects repeat")
    found = ", ".join(_count(number, severity) for severity, number in counts.items() if number)
    display.text(f"{_count(len(tasks), 'task')} accepted, {found or 'no problems'}.")


def _made_again(task: dict[str, Any]) -> dict[str, list[str]]:
    """By name, the checkpoints whose resume makes it again."""
    found: dict[str, list[str]] = {}
    for point in task["resume_points"]:
        for name in point["again"]:
            found.setdefault(name, []).append(f"'{point['key']}'")
    return found


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
