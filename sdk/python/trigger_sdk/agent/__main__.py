"""`python -I -m trigger_sdk.agent serve|inspect|child`: picks the command and imports only what it needs."""

import os
import sys
from typing import NoReturn

USAGE = """usage: python -I -m trigger_sdk.agent serve --socket-dir DIR --tasks FOLDER
       python -I -m trigger_sdk.agent inspect FOLDER [FILE …]"""


def main(arguments: list[str]) -> int:
    match arguments:
        case ["serve", "--socket-dir", directory, "--tasks", folder]:
            from trigger_sdk.agent.serve import serve

            serve(directory, folder)
        case ["inspect", folder, *files]:
            from trigger_sdk.agent.inspection import inspect

            code = inspect(folder, files)
            sys.stderr.flush()
            # A thread started by a task module would keep the process alive.
            os._exit(code)
        case ["child"]:
            from trigger_sdk.agent.child.process import run_spawned

            run_spawned()
    sys.stderr.write(USAGE + "\n")
    return 2


def _exit() -> NoReturn:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    _exit()
