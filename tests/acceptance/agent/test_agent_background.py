"""Work that a task leaves to threads, pools and `atexit`: done before the outcome is reported, or cut off and named."""

from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import Proxy

SOURCE = """
import atexit, queue, tempfile, threading
from concurrent.futures import ThreadPoolExecutor

folder = tempfile.TemporaryDirectory()

def write(path, text, seconds=0.3):
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(text + "\\n")

class Telemetry:
    def __init__(self, path):
        self.path, self.queue = path, queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()
        atexit.register(self.queue.join)

    def work(self):
        while True:
            write(self.path, self.queue.get(), 0.1)
            self.queue.task_done()

def telemetry(path):
    client = Telemetry(path)
    for number in range(3):
        client.queue.put(f"event-{number}")

def pool(path):
    executor = ThreadPoolExecutor(2)
    for number in range(3):
        executor.submit(write, path, f"mail-{number}")

def thread(path):
    threading.Thread(target=write, args=(path, "uploaded")).start()

@task(id="leaves")
def leaves(how: str, path: str, fails: bool = False):
    globals()[how](path)
    if fails:
        raise ValueError("after all")

@task(id="endless")
def endless():
    from trigger_sdk.agent.child import background
    background.SECONDS = 0.5
    threading.Thread(target=time.sleep, args=(3600,), name="poller").start()

@task(id="looks")
def looks():
    return os.path.isdir(folder.name)
"""


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("telemetry", ["event-0", "event-1", "event-2"]),
        ("pool", ["mail-0", "mail-1", "mail-2"]),
        ("thread", ["uploaded"]),
    ],
)
@pytest.mark.parametrize("fails", ["true", "false"])
def test_what_a_task_left_to_the_background_is_done_first(
    proxy: Proxy, tmp_path: Path, how: str, lines: list[str], fails: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    written = tmp_path / "written"

    attempt = proxy.run("leaves", f'{{"how":"{how}","path":"{written}","fails":{fails}}}'.encode(), folder=tmp_path)
    attempt.end()

    assert attempt.of("failed" if fails == "true" else "completed")
    assert sorted(written.read_text().split()) == lines


def test_what_does_not_end_is_cut_off_and_named(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("endless", folder=tmp_path)
    attempt.end()

    assert attempt.of("completed")
    (line,) = [line for line in attempt.lines("system") if "cut off" in line]
    assert "poller" in line


def test_what_was_made_at_import_outlives_a_run(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    outputs = []
    for _ in range(2):
        attempt = proxy.run("looks", folder=tmp_path)
        attempt.end()
        outputs.append(attempt.of("completed")[0].body)

    assert outputs == [b"true", b"true"]
