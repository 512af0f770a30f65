"""Finds and imports the modules of a task folder, and says where in the user's code an import failed.

A folder's modules are those listed in `trigger.toml`, else its top-level files that mention `trigger_sdk`. A folder
with an `__init__.py` is imported as a package, named `package` in `trigger.toml`, else `tasks`: a worker does not know
what the folder was called.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from trigger_sdk.agent.reports.failures import show_relative_to
from trigger_sdk.errors import Problem, RegistrationError, TaskOptionError

if TYPE_CHECKING:
    from trigger_sdk.tasks import Task

CONFIG_NAME = "trigger.toml"
PACKAGE_NAME = "tasks"
SHOWN_MODULES = 5
"""How many of the modules that a folder does not import are named."""
_SKIPPED_FOLDERS = frozenset({"__pycache__", "build", "dist", "env", "node_modules", "site-packages", "tests", "venv"})


class FolderError(Exception):
    """The folder cannot be read as a task folder; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """`modules` are relative to the folder; `package` is the name it is imported under, None if it is no package.
    `is_listed` says that `trigger.toml` lists the modules."""

    path: str
    name: str
    modules: tuple[str, ...]
    package: str | None = None
    is_listed: bool = False

    def full_name(self, module: str) -> str:
        """The name under which one of the modules is imported."""
        if self.package is None:
            return module
        return self.package if module == "__init__" else f"{self.package}.{module}"


def read_folder(path: str) -> TaskFolder:
    """Reads what the folder says about itself, without importing anything; raises FolderError."""
    path = os.path.realpath(path)
    if not os.path.isdir(path):
        raise FolderError(Problem(path, 1, 1, "no_folder", "there is no such folder"))
    config = _read_config(path)
    name = config.get("name", os.path.basename(path))
    modules = config.get("modules", None)
    package = config.get("package", PACKAGE_NAME if os.path.isfile(os.path.join(path, "__init__.py")) else None)
    if modules is None:
        modules = [file.removesuffix(".py") for file in sorted(os.listdir(path)) if _mentions_sdk(path, file)]
    for field, is_right in (
        ("name", isinstance(name, str) and name != ""),
        ("modules", isinstance(modules, list) and all(isinstance(module, str) for module in modules)),
        ("package", package is None or (isinstance(package, str) and package.isidentifier())),
    ):
        if not is_right:
            forms = {"name": "a text", "modules": "a list of module names", "package": "a name without dots"}
            raise FolderError(Problem(CONFIG_NAME, 1, 1, "bad_config", f"`{field}` must be {forms[field]}"))
    return TaskFolder(path, name, tuple(modules), package, is_listed="modules" in config)


def read_files(root: str, files: Sequence[str]) -> TaskFolder:
    """Reads some files of a folder instead of all its modules; raises FolderError."""
    folder = read_folder(root)
    names = [os.path.relpath(os.path.realpath(file), folder.path).removesuffix(".py") for file in files]
    return replace(folder, modules=tuple(name.replace(os.sep, ".").removesuffix(".__init__") for name in names))


def root_of(file: str) -> str:
    """The folder that a file's module name is relative to: the nearest one above it with a `trigger.toml`, else its
    outermost package, else the file's own."""
    parent = os.path.dirname(os.path.realpath(file))
    above = parent
    while True:
        if os.path.isfile(os.path.join(above, CONFIG_NAME)):
            return above
        if above == os.path.dirname(above):
            break
        above = os.path.dirname(above)
    while os.path.isfile(os.path.join(os.path.dirname(parent), "__init__.py")) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    return parent


def import_module(folder: TaskFolder, name: str) -> ModuleType:
    """Imports one of the folder's modules; raises what the import raises."""
    if folder.path not in sys.path:
        sys.path.insert(0, folder.path)
    if folder.package is not None:
        _import_package(folder.path, folder.package)
    module = importlib.import_module(folder.full_name(name))
    origin = getattr(module, "__file__", None) or ""
    if not os.path.realpath(origin).startswith(folder.path + os.sep):
        raise ImportError(
            f"the module name {name!r} already belongs to {origin or 'Python itself'}: give the file another name"
        )
    return module


def _import_package(path: str, name: str) -> None:
    """Imports the folder itself as a package of that name, whatever the folder is called."""
    known = sys.modules.get(name)
    if known is not None and list(getattr(known, "__path__", ())) == [path]:
        return
    if known is not None:
        place = getattr(known, "__file__", None) or "Python itself"
        raise ImportError(f'the package name {name!r} already belongs to {place}: write package = "…" in {CONFIG_NAME}')
    place = os.path.join(path, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[path])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def loaded_from(folder: TaskFolder) -> list[ModuleType]:
    """The imported modules whose files are in the folder, those of its virtual environments aside."""
    found = []
    for module in list(sys.modules.values()):
        file = os.path.realpath(getattr(module, "__file__", None) or "")
        if file.startswith(folder.path + os.sep) and not _SKIPPED_FOLDERS & set(relative(folder, file).split(os.sep)):
            found.append(module)
    return found


def unlisted_modules(folder: TaskFolder) -> list[str]:
    """The modules in folders below this one that define tasks and are not imported, relative to the folder."""
    loaded = {os.path.realpath(module.__file__ or "") for module in loaded_from(folder)}
    found = []
    for parent, folders, files in os.walk(folder.path):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in _SKIPPED_FOLDERS)
        for file in sorted(files):
            place = os.path.join(parent, file)
            if parent != folder.path and place not in loaded and _defines_tasks(parent, file):
                found.append(os.path.relpath(place, folder.path)[: -len(".py")].replace(os.sep, "."))
    return found


def modules_line(folder: TaskFolder, others: Sequence[str]) -> str:
    """The line of `trigger.toml` that imports other modules too."""
    names = [*folder.modules, *(name.removesuffix(".__init__") for name in others)]
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"modules = [{quoted}]"


def load_tasks(path: str) -> list[str]:
    """Imports the whole folder for running; returns its task ids. Raises what the first failing import raises."""
    folder = read_folder(path)
    show_relative_to(folder.path)
    for name in folder.modules:
        import_module(folder, name)
    from trigger_sdk.tasks import registry

    if not registry:
        raise LookupError(f"this folder's modules ({', '.join(folder.modules) or 'none'}) register no task")
    _prepare(list(registry.values()))
    return sorted(registry)


def _prepare(tasks: "list[Task]") -> None:
    """Does once, before any child exists, what each child would otherwise repeat for its run."""
    from trigger_sdk.values import codec
    from trigger_sdk.values.schema import annotations_of, extra_name, parameters_of

    if any(task.is_async for task in tasks):
        importlib.import_module("asyncio")
    for name in ("trigger_sdk.values.lowering", "_signal", "hashlib"):
        importlib.import_module(name)
    for task in tasks:
        parameters_of(task.function)
        extra_name(task.function)
        with contextlib.suppress(Exception):  # an annotation that cannot be read fails its own task's runs
            hints = annotations_of(task.function)
            codec.encode(None, annotation=hints.get("return"))


def problems_of(folder: TaskFolder, module: str, error: BaseException) -> list[Problem]:
    """The places in the user's code that an import's exception points at; files are relative to the folder."""
    if isinstance(error, RegistrationError):
        return [problem._replace(file=relative(folder, problem.file)) for problem in error.problems]
    if isinstance(error, SyntaxError) and error.filename and os.path.isfile(error.filename):
        file = relative(folder, error.filename)
        return [Problem(file, error.lineno or 1, error.offset or 1, "syntax_error", error.msg)]
    full = folder.full_name(module)
    if isinstance(error, ModuleNotFoundError) and error.name and f"{full}.".startswith(f"{error.name}."):
        message = f"the module {module!r} is listed here, but the folder has no such file: correct the name"
        return [Problem(CONFIG_NAME, 1, 1, "missing_module", message)]
    place = _place(folder, module, error)
    if isinstance(error, ModuleNotFoundError) and error.name and not _is_in_folder(folder, error.name):
        return [Problem(*place, "missing_dependency", _missing(folder, error.name))]
    if isinstance(error, TaskOptionError):
        return [Problem(*place, "task_option", str(error))]
    # Indented lines belong to a SyntaxError's excerpt; the lines after the first are notes.
    lines = [line for line in traceback.format_exception_only(error) if not line.startswith(" ")]
    return [Problem(*place, "import_error", lines[0].strip())]


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(os.path.join(path, CONFIG_NAME), "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    import tomllib

    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)\Z", str(error))
        place = (int(found[1]), int(found[2])) if found else (1, 1)
        message = str(error)[: found.start()] if found else str(error)
        raise FolderError(Problem(CONFIG_NAME, *place, "bad_config", message)) from error


def _defines_tasks(path: str, file: str) -> bool:
    if not _mentions_sdk(path, file):
        return False
    with open(os.path.join(path, file), "rb") as source:
        return re.search(rb"@(\w+\.)?task\(", source.read()) is not None


def _mentions_sdk(path: str, file: str) -> bool:
    if not file.endswith(".py") or file.startswith("test_") or file == "conftest.py":
        return False
    with open(os.path.join(path, file), "rb") as source:
        return b"trigger_sdk" in source.read()


def _place(folder: TaskFolder, module: str, error: BaseException) -> tuple[str, int, int]:
    """The innermost place in the traceback that is the user's own code, else the module's first line."""
    from trigger_sdk.compiler.places import column_of_instruction

    found: TracebackType | None = None
    entry = error.__traceback__
    while entry is not None:
        if os.path.realpath(entry.tb_frame.f_code.co_filename).startswith(folder.path + os.sep):
            found = entry
        entry = entry.tb_next
    if found is None:
        return module.replace(".", "/") + ".py", 1, 1
    code = found.tb_frame.f_code
    return relative(folder, code.co_filename), found.tb_lineno, column_of_instruction(code, found.tb_lasti)


def relative(folder: TaskFolder, file: str) -> str:
    """The file's path below the folder; a file elsewhere keeps its own."""
    real = os.path.realpath(file)
    return os.path.relpath(real, folder.path) if real.startswith(folder.path + os.sep) else file


def _is_in_folder(folder: TaskFolder, module: str) -> bool:
    place = os.path.join(folder.path, *module.split("."))
    return os.path.isdir(place) or os.path.isfile(place + ".py")


def _missing(folder: TaskFolder, module: str) -> str:
    package = module.partition(".")[0]
    if folder.package is not None and package in (folder.name, os.path.basename(folder.path)):
        return (
            f"no module named {module!r}: this folder is imported as the package {folder.package!r}, so write a "
            f'relative import, `from . import …`, or package = "{package}" in {CONFIG_NAME}'
        )
    requirements = os.path.join(folder.path, "requirements.txt")
    if not os.path.isfile(requirements):
        return f"no module named {module!r}: list its package in a requirements.txt next to the tasks"
    with open(requirements, errors="replace") as file:
        is_named = any(line.strip().lower().replace("-", "_").startswith(package.lower()) for line in file)
    if is_named:
        return f"no module named {module!r}: requirements.txt lists it, but it is not installed in this environment"
    return f"no module named {module!r}: requirements.txt does not list its package"
