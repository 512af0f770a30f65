"""What a run prints and logs, as it reaches the worker: order, sources, subprocesses, limits."""

from pathlib import Path

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import Proxy


def test_prints_and_logs_keep_their_order(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import logging
@task(id="talk")
def talk():
    print("one", end="")
    print(" and a half")
    log.info("two", n=2)
    print("three", file=sys.stderr)
    logging.getLogger("shop").warning("four %s", 4)
    sys.stdout.write("five without newline")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("talk", folder=tmp_path)
    attempt.end()

    lines = [
        (f.header["source"], f.header["level"], f.header["message"], f.header["fields"]) for f in attempt.of("log")
    ]
    assert lines == [
        ("stdout", "info", "one and a half", {}),
        ("log", "info", "two", {"n": 2}),
        ("stderr", "warning", "three", {}),
        ("log", "warning", "four 4", {"logger": "shop"}),
        ("stdout", "info", "five without newline", {}),
    ]


def test_output_of_subprocesses_and_forks_arrives_by_the_agent(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import subprocess
@task(id="talk")
def talk():
    subprocess.run(["sh", "-c", "echo from sh; echo to stderr >&2; printf tail"])
    pid = os.fork()
    if pid == 0:
        print("from the fork")
        os._exit(0)
    os.waitpid(pid, 0)
    os.write(1, b"x" * 150_000 + b"\\n" + b"bad \\xff byte\\n")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("talk", folder=tmp_path)
    attempt.end()

    out, err = attempt.lines("stdout"), attempt.lines("stderr")
    assert out[0] == "from sh"
    assert "tailfrom the fork" in out
    assert [len(line) for line in out if set(line) == {"x"}] == [65_536, 65_536, 18_928]
    assert "bad \N{REPLACEMENT CHARACTER} byte" in out
    assert err == ["to stderr"]
    assert attempt.of("completed")


def test_flood_of_lines_is_cut_and_counted(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="flood")
def flood():
    for n in range(50_010):
        print(n)
    os.write(1, b"line\\n" * 50_020)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("flood", folder=tmp_path)
    attempt.end(120)

    cut = [line for line in attempt.lines("log", "system") if "cut here" in line]
    assert len(attempt.lines("stdout")) == 100_000
    assert [line.split()[3] for line in cut] == ["10", "20"]


def test_lines_of_forked_processes_keep_their_level_and_fields(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import logging, multiprocessing

def work(number):
    log.debug("looked", number=number)
    log.error("failed", number=number)
    logging.getLogger("shop").warning("low on %s", "tea")
    log.info("x" * 70_000)
    log.info("\u20ac" * 9_000 + '"' * 30_000)
    print("printed")
    print("\x1etrigger-log [1, 2]")

@task(id="talk")
def talk():
    process = multiprocessing.get_context("fork").Process(target=work, args=(7,))
    process.start()
    process.join()
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("talk", folder=tmp_path)
    attempt.end()

    logged = [frame.header for frame in attempt.of("log") if frame.header["source"] == "log"]
    assert [(line["level"], line["message"], line["fields"]) for line in logged[:3]] == [
        ("debug", "looked", {"number": 7}),
        ("error", "failed", {"number": 7}),
        ("warning", "low on tea", {"logger": "shop"}),
    ]
    assert [len(line["message"].encode()) <= 65_536 and line["message"].endswith("cut]") for line in logged[3:]] == [
        True,
        True,
    ]
    assert attempt.lines("stdout") == ["printed", "\x1etrigger-log [1, 2]"]
    assert attempt.lines("stderr") == []
