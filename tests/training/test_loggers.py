"""Who else hears of a run: W&B, read back from its own file and through servers that misbehave, and TensorBoard."""

import json
import os
import signal
import subprocess

import pandas as pd
import pytest

from galaxy10.files import read_json
from galaxy10.runs.directory import RunDirectory
from tests.conftest import QUICK, ROOT, Finished
from tests.galaxies import write_galaxies
from tests.servers import refusing_address, swallowing
from tests.training.wandb_files import logged_runs, wandb_server
from tests.waiting import PATIENCE_S, wait_for

KEY = "k" * 40  # as long as a real one


@pytest.fixture
def command(tmp_path):
    """A short experiment with some mistakes in the end, in `r`."""
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "In-between", "Edge-on"], per_class=20)
    words = [word for word in QUICK if not word.startswith("logger=")]
    return ["data=hdf5", f"data.path={path}", "run.dir=r", "optimizer.lr=1e-6", *words]


@pytest.fixture
def alone(tmp_path):
    """An account without credentials, whatever the person who runs the tests has."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "NETRC": str(home / "none"), "WANDB_API_KEY": "", "WANDB_MODE": "", "WANDB_BASE_URL": ""}


def offline_parts(run):
    return list((run / "wandb").glob("offline-run-*"))


def lines_about_wandb(done):
    return [line for line in done.err.splitlines() if "wandb" in line]


@pytest.mark.long
def test_without_credentials_a_run_is_kept_and_one_line_says_how_to_upload_it(command, train, alone, tmp_path):
    temporary = tmp_path / "home" / "tmp"
    temporary.mkdir()
    settings = [
        "run.report=true",
        "logger.wandb.tags=[bars,2]",
        "logger.wandb.group=night",
        "logger.wandb.log_model=true",
    ]
    done = train(*command, *settings, **alone, TMPDIR=str(temporary))
    assert done.code == 0, done.err
    (line,) = lines_about_wandb(done)
    assert "no credentials" in line
    assert "`wandb sync r/wandb/offline-run-*`" in line
    (logged,) = logged_runs(tmp_path / "r")
    assert logged.exit_code == 0
    assert (logged.project, logged.group, logged.name) == ("galaxy10", "night", "r")
    assert logged.tags == ["bars", "2"]
    assert logged.config["model"]["name"] == "timm"
    assert logged.config["provenance"]["split"]["hash"] == done.result["split_hash"]
    assert logged.id == json.loads((tmp_path / "r" / "wandb" / "run.json").read_text())["id"]
    for file, prefix in (("metrics.csv", ""), ("profile.csv", "profile/")):
        table = pd.read_csv(tmp_path / "r" / file)
        assert len(logged.epochs) == len(table) == 2
        for key in set(table) - {"epoch"}:
            assert [row[f"{prefix}{key}"] for row in logged.epochs] == table[key].tolist(), key
    for key, value in done.result.items():
        if key.startswith(("val/", "test/")):
            assert logged.summary[key] == value, key
    assert logged.summary["state"] == "finished"
    assert logged.logged("figures/curves_loss/_type") == "image-file"
    assert logged.logged("misclassified/test/nrows") > 0
    assert logged.logged("confusion_matrix/test_table/nrows") == 9
    assert ("model", ["best.ckpt"]) in logged.artifacts
    outside = {path.name for path in tmp_path.iterdir()} - {"g.h5", "r", "home"}
    assert all(name.endswith((".store", ".lock")) for name in outside)
    # wandb's service ends, and removes its socket's folder, once it sees that the run's own W&B process is gone.
    wait_for(lambda: not list((tmp_path / "home").rglob("*wandb*")), "wandb's temporary files to be removed")
    assert not list(temporary.rglob("*.png"))


@pytest.mark.long
@pytest.mark.parametrize(
    "setting",
    [
        ["logger.wandb.mode=disabled"],
        *(pytest.param([word], marks=pytest.mark.long) for word in ("logger=csv", "WANDB_MODE=disabled")),
    ],
    ids=" ".join,
)
def test_it_can_be_switched_off(setting, command, train, alone, tmp_path):
    mode = {"WANDB_MODE": "disabled"} if setting[0].startswith("WANDB") else {}
    done = train(*command, *([] if mode else setting), "trainer.max_epochs=1", **alone | mode)
    assert done.code == 0, done.err
    assert lines_about_wandb(done) == []
    assert not (tmp_path / "r" / "wandb").exists()


@pytest.mark.long
def test_a_killed_run_is_marked_and_its_resumption_is_the_same_run(command, start, alone, tmp_path):
    """The second part goes on where the first ended, also when W&B could be reached by then."""
    words = [ROOT / "train.py", *command, "trainer.max_epochs=1000"]
    run = tmp_path / "r"

    def rows():
        return len((run / "metrics.csv").read_text().splitlines()) - 1 if (run / "metrics.csv").exists() else 0

    with start(*words, cwd=tmp_path, **alone) as process:
        wait_for(lambda: rows() >= 3 and offline_parts(run), "three epochs", process)
        process.kill()
    wait_for(lambda: (found := logged_runs(run)) and found[0].exit_code is not None, "the end of the W&B run")
    first = logged_runs(run)[0]
    assert first.exit_code == 1
    assert first.summary["state"] == "killed"
    with wandb_server() as server:
        online = alone | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
        with start(*words, cwd=tmp_path, **online) as process:
            before = rows()
            wait_for(lambda: rows() >= before + 2 and len(offline_parts(run)) == 2, "two more epochs", process)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "an earlier part of this run has not been uploaded yet" in err
    _, second = logged_runs(run)
    assert second.id == first.id
    assert second.exit_code == 130
    assert second.summary["state"] == "interrupted"
    steps = [row["epoch"] for part in (first, second) for row in part.epochs]
    assert steps == list(range(len(steps)))


@pytest.mark.long
def test_a_run_that_its_study_has_given_up_has_not_failed(command, start, alone, tmp_path):
    run = tmp_path / "r"
    with start(ROOT / "train.py", *command, "trainer.max_epochs=1000", cwd=tmp_path, **alone) as process:
        wait_for(lambda: (run / "metrics.csv").exists() and offline_parts(run), "an epoch", process)
        RunDirectory(run).prune(1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["error"]) == ("pruned", "pruned by its study after 1 epoch")
    (logged,) = logged_runs(run)
    assert (logged.exit_code, logged.summary["state"]) == (0, "pruned")
    assert (run / "wandb" / "follower.log").read_text() == ""


@pytest.mark.long
def test_a_failed_run_is_marked(command, train, alone, tmp_path):
    done = train(*command, "optimizer=sgd", "optimizer.lr=1e30", "scheduler=none", **alone)
    assert done.code == 1, done.err
    (logged,) = logged_runs(tmp_path / "r")
    assert logged.exit_code == 1
    assert logged.summary["state"] == "failed"
    assert logged.summary["error"] in done.err


@pytest.mark.long
@pytest.mark.parametrize("whom", ["wandb-core", "wandb_follower"])
def test_its_processes_may_die(whom, command, start, alone, tmp_path):
    with start(ROOT / "train.py", *command, "trainer.max_epochs=20", cwd=tmp_path, **alone) as process:
        wait_for(lambda: offline_parts(tmp_path / "r"), "the W&B run", process)
        victim = child(process.pid, "wandb_follower")
        os.kill(child(victim, whom) if whom == "wandb-core" else victim, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def child(parent, name):
    """The process that `parent` started under a name."""
    listed = subprocess.run(["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    found = [line.split()[0] for line in listed.splitlines()[1:] if line.split()[1] == str(parent) and name in line]
    return int(found[0])


def test_a_reachable_server_gets_the_run(command, train, alone, tmp_path):
    with wandb_server() as server:
        online = alone | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
        done = train(*command, "run.report=true", **online)
        assert done.code == 0, done.err
        (line,) = lines_about_wandb(done)
        assert f"{server.address}/me/galaxy10/runs/" in line
        assert [row["epoch"] for row in server.history if "epoch" in row] == [0, 1]
        assert server.exit_code == 0
        assert any("figures/" in name for name in server.files)
    assert not list((tmp_path / "r" / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize(
    "how",
    [
        "hangs",
        *(pytest.param(how, marks=pytest.mark.long) for how in ("refuses", "is behind a firewall", "drops", "stalls")),
    ],
)
def test_a_silent_server_is_not_waited_for(how, command, train, alone, tmp_path):
    if how == "refuses":
        done = logged_to(refusing_address(), train, command, alone)
    elif how == "is behind a firewall":
        with swallowing() as address:
            done = logged_to(address, train, command, alone)
    else:
        with wandb_server(ending=how[:-1], gone=True) as server:
            done = logged_to(server.address, train, command, alone)
    assert done.code == 0, done.err
    (line,) = lines_about_wandb(done)
    assert "wandb   offline: " in line
    assert how == "stalls" or "does not answer within 5 s" in line
    (logged,) = logged_runs(tmp_path / "r")
    assert logged.exit_code == 0
    assert len(logged.epochs) == 2
    assert {path.name for path in (tmp_path / "r" / "wandb").glob("run-*")} == set()


@pytest.mark.long
@pytest.mark.parametrize("ending", ["hang", "drop"])
def test_a_server_that_goes_away_in_between_loses_nothing(ending, command, start, alone, tmp_path):
    record = tmp_path / "r" / "wandb" / "run.json"
    with wandb_server(ending) as server:
        online = alone | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}
        with start(
            ROOT / "train.py", *command, "trainer.max_epochs=25", "run.report=true", cwd=tmp_path, **online
        ) as process:
            wait_for(lambda: read_json(record).get("parts"), "the W&B run", process)
            server.gone = True
            out, err = process.communicate(timeout=PATIENCE_S)
    done = Finished(process.returncode, out, err)
    assert done.code == 0, err
    lines = lines_about_wandb(done)
    assert len(lines) == 2
    assert "`wandb sync --include-online r/wandb/*run-*`" in lines[1]
    first, second = logged_runs(tmp_path / "r")
    assert first.id == second.id
    assert [row["epoch"] for part in (first, second) for row in part.epochs] == list(range(25))
    assert second.exit_code == 0
    assert second.logged("figures/curves_loss/_type")
    assert second.logged("misclassified/test/nrows") > 0
    assert second.summary["test/accuracy"] == done.result["test/accuracy"]


def logged_to(address, train, command, alone):
    return train(*command, **alone | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": address})


@pytest.mark.long
def test_mode_online_is_refused_before_training_if_wandb_is_unreachable(command, here, alone, tmp_path):
    done = here("train.py", *command, "logger.wandb.mode=online", **alone)
    assert done.code == 2
    assert "logger.wandb.mode=online, but no credentials" in done.message
    done = here(
        "train.py",
        *command,
        "logger.wandb.mode=online",
        **alone | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": refusing_address()},
    )
    assert done.code == 2
    assert "does not answer" in done.message
    for name, value in {"WANDB_MODE": "sometimes", "WANDB_BASE_URL": "wandb.ai"}.items():
        done = here("train.py", *command, **alone | {name: value})
        assert done.code == 2
        assert f"{name}={value} in the environment" in done.message
    assert not (tmp_path / "r").exists()


@pytest.mark.long
def test_nothing_in_the_environment_sends_a_run_elsewhere(command, train, alone, tmp_path):
    """Nor does a folder that happens to be called wandb or yaml."""
    (tmp_path / "yaml.py").write_text("raise RuntimeError('not mine')")
    elsewhere = {"WANDB_DIR": str(tmp_path / "elsewhere"), "WANDB_PROJECT": "mine", "WANDB_SERVICE": "2-1-tcp-x-1"}
    done = train(*command, "trainer.max_epochs=1", **alone | elsewhere)
    assert done.code == 0, done.err
    (logged,) = logged_runs(tmp_path / "r")
    assert logged.project == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.long
def test_tensorboard_writes_what_the_tables_hold(command, train, alone, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = train(*command, "logger=tensorboard", "run.report=true", **alone)
    assert done.code == 0, done.err
    events = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    events.Reload()
    table = pd.read_csv(tmp_path / "r" / "metrics.csv")
    for key in set(table) - {"step"}:
        points = events.Scalars(key)
        assert [point.step for point in points] == table["step"].tolist()
        assert [point.value for point in points] == pytest.approx(table[key].tolist(), rel=1e-6), key
    assert events.Scalars("final/test/accuracy")[0].value == pytest.approx(done.result["test/accuracy"])
    assert "curves_loss" in events.Tags()["images"]


@pytest.mark.long
def test_missing_tensorboard_is_refused_before_training(train, galaxies, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'tensorboard' else find(name, *more)\n"
    )
    done = train("data=hdf5", f"data.path={galaxies}", "logger=tensorboard", PYTHONPATH=str(tmp_path))
    assert done.code == 2
    assert 'pip install "galaxy10[tensorboard]"' in done.message
