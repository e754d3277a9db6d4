"""A study kept in a database instead of a file: a real PostgreSQL, started for these tests."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from galaxy10.sweeps.journal import open_storage

pytestmark = [pytest.mark.long, pytest.mark.slow]


def program(name):
    """One of PostgreSQL's programs: on the path, or where Debian keeps them."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The address of an empty database, and a function that restarts its server."""
    if program("initdb") is None or program("pg_ctl") is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgresql")
    # It refuses to run as root; its user must be able to enter the folder.
    as_user = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        folder = Path(f"/tmp/galaxy10-postgresql-{os.getpid()}")
        folder.mkdir(mode=0o700)
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command):
        subprocess.run([*as_user, *command], cwd="/", check=True, stdout=subprocess.DEVNULL)

    password = folder / "password"
    password.write_text("stars")
    if as_user:
        shutil.chown(password, "postgres")
    data = str(folder / "data")
    run(program("initdb"), "-D", data, "-U", "astronomer", f"--pwfile={password}", "--auth=scram-sha-256")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = (program("pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    stop = (program("pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
    run(*start)

    def restart():
        run(*stop)
        run(*start)

    yield f"postgresql://astronomer:stars@127.0.0.1:{port}/postgres", restart
    run(*stop)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_study_in_postgresql_is_joined_and_gone_on_with(database, sweep, tmp_path):
    address, restart = database
    words = (f"sweep.storage={address}", "sweep.workers=2", "sweep.space.model.dropout.high=0.7")
    done = sweep(*words, "sweep.n_trials=6")
    assert done.code == 0, done.err
    assert not (tmp_path / "s" / "journal.log").exists()
    study = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "s", address))
    assert len(study.trials) == 6
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials)
    # A password is nowhere in the study's directory.
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert not [path for path in files if b"stars" in path.read_bytes()]
    restart()
    more = sweep(*words, "sweep.n_trials=8")
    assert more.code == 0, more.err
    assert len(study.trials) == 8
    status = sweep("sweep.action=status", f"sweep.storage={address}")
    assert status.code == 0
    assert status.result["complete"] + status.result["pruned"] == 8
    without = sweep("sweep.action=status")
    assert without.code == 2
    assert "add sweep.storage=…" in without.message
    assert "stars" not in without.message


def test_a_missing_database_is_refused_without_showing_the_password(sweep):
    done = sweep("sweep.storage=postgresql://me:secret@127.0.0.1:1/none")
    assert done.code == 2
    assert "sweep.storage=postgresql://me:***@127.0.0.1:1/none cannot be opened" in done.message
    assert "secret" not in done.err
