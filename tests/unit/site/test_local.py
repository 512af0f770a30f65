"""Generated secrets and the layout mark under `var/`."""

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import dj_database_url
import pytest

from trigger_site.development.local import (
    LocalStateError,
    check_layout,
    development_database_url,
    development_secret,
    socket_dir,
    write_private,
)


def ask_at_once(var_dir: Path, barrier: Barrier, answers: "multiprocessing.SimpleQueue[str]") -> None:
    barrier.wait()
    answers.put(development_secret(var_dir, "secret_key"))


def test_secret_is_the_same_for_processes_that_start_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=ask_at_once, args=(tmp_path / "var", barrier, answers)) for _ in range(3)]

    for process in processes:
        process.start()
    secrets = {answers.get() for _ in processes}
    for process in processes:
        process.join()

    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32


def test_secret_is_private_and_kept(tmp_path: Path) -> None:
    first = development_secret(tmp_path / "var", "worker_token")

    path = tmp_path / "var" / "secrets" / "worker_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert development_secret(tmp_path / "var", "worker_token") == first
    assert development_secret(tmp_path / "var", "secret_key") != first


def test_private_file_is_replaced_at_once_and_leaves_nothing_behind_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dev.json"
    write_private(path, "old")

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["dev.json"]


def test_folder_of_another_layout_is_refused_and_left_alone(tmp_path: Path) -> None:
    check_layout(tmp_path / "var")
    (tmp_path / "var" / "layout-version").write_text("99\n")

    with pytest.raises(LocalStateError, match=r"layout 99, this one needs 1"):
        check_layout(tmp_path / "var")

    assert (tmp_path / "var" / "layout-version").read_text() == "99\n"


def test_database_url_is_known_without_a_database_and_differs_between_folders(tmp_path: Path) -> None:
    parsed = dj_database_url.parse(development_database_url(tmp_path / "a"))

    assert parsed["HOST"] == str(socket_dir(tmp_path / "a"))
    assert parsed["NAME"] == "trigger"
    assert development_database_url(tmp_path / "a") != development_database_url(tmp_path / "b")


def test_socket_path_fits_where_the_folder_is_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / "var"

    assert len(str(socket_dir(deep) / ".s.PGSQL.5432.lock")) <= 103
