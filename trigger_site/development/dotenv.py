"""Where the workers of `make run` find the `.env` of each task folder: by a file per task set that names the folder.

The variables themselves stay in the folder: they are neither in the database nor in a deployment.
"""

from pathlib import Path

from apps.workers.node.variables import Variables, dotenv_pointer, with_dotenv
from trigger_site.development.local import prepare_var, write_private


def dotenv_folder(var_dir: Path) -> Path:
    return var_dir / "dotenv"


def name_folder(var_dir: Path, task_set: str, folder: Path) -> None:
    """Remembers where the task set's folder is; a later `.env` there counts too."""
    target = dotenv_folder(var_dir)
    prepare_var(var_dir)
    target.mkdir(mode=0o700, exist_ok=True)
    write_private(target / dotenv_pointer(task_set), str(folder.resolve()))


def with_local_variables(var_dir: Path, task_set: str, values: dict[str, str]) -> dict[str, str]:
    """The values with those of the task set's `.env`, which win; raises VariablesUnavailableError."""
    return dict(with_dotenv(Variables("", values), dotenv_folder(var_dir), task_set).values)
