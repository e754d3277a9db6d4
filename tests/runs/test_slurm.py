"""What SLURM tells a process, and what is refused before anything starts; a real SLURM is in tests/slurm."""

import json
import os
import signal
import time

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.lock import RunLock, check_free
from galaxy10.runs.signals import Interrupted, SignalHandler
from galaxy10.runs.slurm import check_job, job_name, job_step, outside_step, threads_per_process
from tests.galaxies import write_galaxies

SETTINGS = {"accelerator": "cpu", "devices": 2, "num_nodes": 2}


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM", "OMP"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def step(monkeypatch):
    """Pretend to be a task of a job step."""

    def pretend(tasks, nodes, per_node):
        values = {"JOB_ID": "7", "STEP_ID": "0", "PROCID": "1", "STEP_NUM_TASKS": tasks, "STEP_NUM_NODES": nodes}
        for name, value in {**values, "STEP_TASKS_PER_NODE": per_node}.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return pretend


def test_the_right_number_of_tasks_passes(step):
    step(4, 2, "2(x2)")
    check_job(SETTINGS)
    assert job_step().tasks_per_node == 2


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (
            (2, 2, "1(x2)"),
            ["needs 4 processes", "has 2 tasks on 2 nodes", "#SBATCH --ntasks-per-node=2`", "devices=1 "],
        ),
        ((4, 1, "4"), ["has 4 tasks on 1 node;", "`#SBATCH --nodes=2`", "trainer.devices=4 trainer.num_nodes=1"]),
        ((4, 2, "3,1"), ["has 4 tasks on 2 nodes;", "sbatch --nodes=2 --ntasks-per-node=2 slurm/train.sbatch …`"]),
        ((1, 1, "1"), ["has 1 task on 1 node;"]),
    ],
    ids=lambda value: str(value),
)
def test_another_number_is_refused_with_the_lines_to_change(step, tasks, words):
    step(*tasks)
    with pytest.raises(Galaxy10Error) as refused:
        check_job(SETTINGS)
    for word in words:
        assert word in str(refused.value)


def test_several_nodes_need_somebody_who_starts_them():
    with pytest.raises(
        Galaxy10Error, match="nothing starts the other nodes; type `sbatch --nodes=2 --ntasks-per-node=2"
    ):
        check_job(SETTINGS)
    check_job({**SETTINGS, "num_nodes": 1})


def test_what_a_task_starts_by_itself_is_no_task(step):
    step(1, 1, "1")
    assert {"SLURM_STEP_ID", "SLURM_PROCID"} <= os.environ.keys()
    environment = outside_step(dict(os.environ))
    assert not any(name.startswith(("SLURM_STEP", "SLURM_PROCID")) for name in environment)
    assert environment["SLURM_JOB_ID"] == "7"


def test_array_tasks_have_a_name_that_a_requeue_keeps(monkeypatch):
    assert job_name() is None
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert job_name() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job_name() == "10_2"


def test_threads_follow_the_cores_of_a_task_unless_the_user_says_otherwise(monkeypatch):
    assert threads_per_process() is None
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert threads_per_process() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_per_process() is None


def test_only_a_later_start_of_the_same_job_may_take_a_living_ones_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.runs.lock.HANDOVER_S", 0.3)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = RunLock(tmp_path)
    first.take()
    with pytest.raises(Galaxy10Error, match="SLURM job 7"):
        check_free(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(Galaxy10Error):
        RunLock(tmp_path).take()
    assert first.is_ours()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    second = RunLock(tmp_path)
    second.take()
    assert not first.is_ours()
    assert first.lost.is_set()
    first.release()
    assert second.is_ours()
    second.release()


def test_one_signal_that_comes_by_two_ways_is_one(monkeypatch):
    interruption = SignalHandler()
    interruption.deferring = True
    interruption._handle(signal.SIGTERM, None)
    interruption._handle(signal.SIGTERM, None)
    assert interruption.number == signal.SIGTERM
    later = time.monotonic() + 10
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(Interrupted):
        interruption._handle(signal.SIGTERM, None)


def test_runs_are_listed_and_a_state_that_cannot_be_true_is_not_repeated(galaxy10, train, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    words = ("data=hdf5", "data.path=g.h5", "model=pca_logreg", "model.image_size=16", "model.scree_components=10")
    assert train(*words, "run.dir=runs/whole", "logger=csv").code == 0
    assert galaxy10("evaluate", "runs/whole", "g.h5", "-o", "runs/judged").code == 0
    for name, job in (("killed", "41"), ("alive", "42")):
        run = tmp_path / "runs" / "grid-1" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("trainer: {max_epochs: 10}\n")
        (run / "status.json").write_text(json.dumps({"state": "running", "epoch": 3, "job": job}))
        (run / "metrics.csv").write_text("epoch,val/loss\n3,0.1\n")
        (run / "profile.csv").write_text("epoch,seconds,validation_seconds\n3,590,10\n")
    lease = RunLock(tmp_path / "runs" / "grid-1" / "alive")
    lease.take()
    done = galaxy10("runs")
    lease.release()
    assert done.code == 0, done.err
    lines = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert lines["whole"][1:3] == ["finished", "1"]
    assert lines["judged"][1:3] == ["finished", "–"]
    assert lines["grid-1/alive"][1:3] == ["running", "4/10"]
    assert " ".join(lines["grid-1/alive"]).endswith("1 h 00 min 42")
    assert lines["grid-1/killed"][1] == "killed"
    assert "its status says running, but no process holds it" in done.out
    assert galaxy10("runs", "nowhere").message.startswith("error: there is no folder nowhere")
