"""What stops a job on a real SLURM, and that the same result comes out as if nothing had."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.conftest import QUIET, ROOT
from tests.slurm.conftest import ARRAY, EXPERIMENT, TRAIN, Slurm, status, task_process, wait_for

pytestmark = [pytest.mark.long, pytest.mark.slow]

LONG = (*EXPERIMENT, "trainer.max_epochs=7", "model.dropout=0.25", "augment=baseline_cnn")


@pytest.fixture(scope="module")
def whole(slurm, folder):
    """The run that nothing interrupts."""
    job = slurm.submit(TRAIN, *LONG, "run.dir=whole", cwd=folder)
    assert slurm.ended(job) == "COMPLETED"
    return folder / "whole"


def first_epoch(run):
    wait_for((run / "metrics.csv").exists, what=f"the first epoch of {run.name}")


def assert_same_result(whole, run):
    assert status(run)["state"] == "finished"
    one, other = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (whole, run))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (whole / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    for subset in ("val", "test"):
        tables = [r / "predictions" / f"{subset}.parquet" for r in (whole, run)]
        assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_requeued_job_finds_its_directory_and_its_wandb_run(slurm, folder, whole):
    job = slurm.submit(TRAIN, *LONG, "logger=wandb", cwd=folder)  # no run.dir: the job's id names it
    wait_for(lambda: list(folder.glob(f"runs/*-{job}/metrics.csv")), what="the first epoch")
    (run,) = folder.glob(f"runs/*-{job}")

    def known() -> dict:
        return json.loads((run / "wandb" / "run.json").read_text())

    wait_for(lambda: known()["parts"], what="W&B's own process")  # which a busy machine starts after the first epoch
    slurm.ask("scontrol", "requeue", job)
    wait_for(lambda: status(run)["state"] == "interrupted", what="the run to stop")
    identity = known()["id"]
    slurm.restart_now(job)
    assert slurm.ended(job) == "COMPLETED"
    assert slurm.about(job)["Restarts"] == "1"
    assert_same_result(whole, run)
    assert known()["id"] == identity
    assert len(known()["parts"]) == 2
    assert list(folder.glob(f"runs/*-{job}*")) == [run]


def test_a_requeued_job_over_two_nodes_goes_on_with_the_same_result(slurm, folder):
    words = ("--nodes=2", TRAIN, *LONG, "trainer.num_nodes=2")
    alone = slurm.submit(*words, "run.dir=whole-two", cwd=folder)
    assert slurm.ended(alone) == "COMPLETED", (folder / f"{alone}.log").read_text()
    job = slurm.submit(*words, "run.dir=requeued-two", cwd=folder)
    first_epoch(folder / "requeued-two")
    slurm.ask("scontrol", "requeue", job)
    wait_for(lambda: status(folder / "requeued-two")["state"] == "interrupted", what="the run to stop")
    slurm.restart_now(job)
    assert slurm.ended(job) == "COMPLETED", (folder / f"{job}.log").read_text()
    assert slurm.about(job)["Restarts"] == "1"
    assert_same_result(folder / "whole-two", folder / "requeued-two")


def test_before_the_time_limit_an_array_task_saves_and_is_requeued(slurm, folder, whole):
    line = " ".join((*LONG, "run.dir=limited"))
    (folder / "list.txt").write_text(f"seed=9\n{line}\n")
    array = slurm.submit("--array=1-1", "--signal=USR1@120", ARRAY, "list.txt", cwd=folder)
    job, run = f"{array}_1", folder / "limited"
    first_epoch(run)
    process = task_process(job, number=0)
    os.kill(process, signal.SIGSTOP)  # until the signal has been sent, however long SLURM takes and training does not
    try:
        slurm.ask("scontrol", "update", f"jobid={job}", f"TimeLimit={minutes_so_far(slurm, job) + 2}")
        wait_for(lambda: is_told(process, signal.SIGUSR1), what="the signal before the time limit")
    finally:
        with suppress(ProcessLookupError):  # SLURM itself has woken it up to be told
            os.kill(process, signal.SIGCONT)
    wait_for(lambda: slurm.about(job)["Restarts"] == "1", what="the job to be requeued")
    assert status(run)["state"] == "interrupted"
    assert status(run)["error"] == "stopped by SIGUSR1"
    slurm.restart_now(job, TimeLimit="30")
    assert slurm.ended(job) == "COMPLETED"
    assert_same_result(whole, run)


def minutes_so_far(slurm, job):
    hours, minutes, _ = slurm.about(job)["RunTime"].split(":")
    return int(hours) * 60 + int(minutes)


def is_told(process, number):
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has been told, and has ended
    waiting = next(line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(waiting, 16) >> (number - 1) & 1)


def test_a_requeued_job_takes_over_from_its_step_that_outlived_its_node(slurm, folder, whole):
    run = folder / "outlived"
    job = slurm.submit("--nodelist=n0", TRAIN, *LONG, "run.dir=outlived", cwd=folder)
    first_epoch(run)
    before = json.loads((run / "lock.json").read_text())
    os.kill(before["pid"], signal.SIGSTOP)  # it wakes up when the new start has begun, and finds itself replaced
    slurm.kill_node("n0")
    try:
        wait_for(lambda: slurm.state(job) == "PENDING", what="the controller to give the node up")
        slurm.restart_now(job, ReqNodeList="n1")
        wait_for(lambda: holder(run)["token"] not in (None, before["token"]), what="the new start to take the lock")
        assert holder(run)["restarts"] == 1
        assert Path(f"/proc/{before['pid']}").exists()
        os.kill(before["pid"], signal.SIGCONT)
        assert slurm.ended(job) == "COMPLETED"
        assert not Path(f"/proc/{before['pid']}").exists()
    finally:
        slurm.start_node("n0")
    assert "an earlier start of this job, to stop" in (folder / f"{job}.log").read_text()
    assert_same_result(whole, run)


def holder(run):
    try:
        return json.loads((run / "lock.json").read_text())
    except FileNotFoundError:  # between two holders
        return {"token": None}


def test_scancel_ends_as_interrupted_and_is_not_requeued(slurm, folder):
    run = folder / "cancelled"
    words = (*LONG, "run.dir=cancelled", "trainer.devices=2", "trainer.max_epochs=1000")
    job = slurm.submit("--ntasks-per-node=2", TRAIN, *words, cwd=folder)
    first_epoch(run)
    (line,) = (line for line in runs_table(slurm, folder) if line.startswith("cancelled "))
    assert line.split()[1] == "running"
    assert f" {job} " in line
    slurm.ask("scancel", job)
    assert slurm.ended(job) == "CANCELLED"
    wait_for(lambda: status(run)["state"] == "interrupted", what="the run to be closed")
    assert slurm.about(job)["Restarts"] == "0"
    assert (run / "checkpoints" / "last.ckpt").exists()
    assert not (run / "lock.json").exists()


def runs_table(slurm: Slurm, folder):
    command = [sys.executable, "-m", "galaxy10", "runs", str(folder)]
    environment = {**slurm.environment, **QUIET, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
