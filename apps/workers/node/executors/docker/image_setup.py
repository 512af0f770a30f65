"""Runs once inside an image, as root, when the platform's layer is built on top of the user's image.

`settle` makes the SDK importable for the image's own Python and prepares the container user; `compile FOLDER` compiles
the tasks, because a container with a read-only root could never keep what it compiled.
"""

import compileall
import os
import py_compile
import sys
import sysconfig

SDK_FOLDER = "/trigger/sdk"
PACKAGES_FOLDER = "/trigger/packages"
"""What the platform has installed for the tasks; missing where they bring their own Dockerfile or need nothing."""

WORK_FOLDER = "/work"
USER_ID = 10001
PYTHON_MIN = (3, 11)


def settle() -> None:
    if sys.version_info < PYTHON_MIN:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"The image's python3 is {found}; tasks need {'.'.join(map(str, PYTHON_MIN))} or newer.")
    packages = sysconfig.get_path("purelib")
    os.makedirs(packages, exist_ok=True)
    # A path file, because the agent runs isolated (-I) and ignores PYTHONPATH; so do the processes it spawns.
    with open(os.path.join(packages, "trigger_sdk.pth"), "w") as file:
        file.write(SDK_FOLDER + "\n")
        if os.path.isdir(PACKAGES_FOLDER):  # whose own path files count too
            file.write(f"import site; site.addsitedir({PACKAGES_FOLDER!r})\n")
    os.makedirs(WORK_FOLDER, exist_ok=True)
    # A fresh volume inherits the owner of the folder it is mounted on.
    os.chown(WORK_FOLDER, USER_ID, USER_ID)
    os.chmod(WORK_FOLDER, 0o700)
    add_user()
    compile_folder(SDK_FOLDER)


def add_user() -> None:
    """Gives the container user a name: `getpass.getuser()` and many libraries fail without one."""
    for path, line in (
        ("/etc/passwd", f"task:x:{USER_ID}:{USER_ID}:task:{WORK_FOLDER}:/bin/sh\n"),
        ("/etc/group", f"task:x:{USER_ID}:\n"),
    ):
        with open(path, "a+") as file:
            file.seek(0)
            if not any(entry.split(":")[2:3] == [str(USER_ID)] for entry in file):
                file.write(line)


def compile_folder(folder: str) -> None:
    """Compiles what it can; a file that fails is left to its import, which names the line."""
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    if sys.argv[1:] == ["settle"]:
        settle()
    else:
        compile_folder(sys.argv[2])
