"""What SLURM tells a process, and what is refused before anything starts; a real SLURM is in tests/slurm."""

import os
import signal
import time

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.signals import Interrupted, SignalHandler
from galaxy10.runs.slurm import check_job, job_name, job_step, outside_step, threads_per_process

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


def test_one_signal_that_comes_by_two_ways_is_one(monkeypatch):
    signal_handler = SignalHandler()
    signal_handler.deferring = True
    signal_handler._handle(signal.SIGTERM, None)
    signal_handler._handle(signal.SIGTERM, None)
    assert signal_handler.number == signal.SIGTERM
    later = time.monotonic() + 10
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(Interrupted):
        signal_handler._handle(signal.SIGTERM, None)
