"""Ranks and addresses of another job; processes that nobody counted"""

import logging
import os
import socket

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs import launcher
from galaxy10.runs.directory import is_main_process
from galaxy10.runs.launcher import PARENT_VARIABLE, check_one_process, check_processes, drop_stale_variables, launch

TRAINER = {"accelerator": "cpu", "devices": 1, "num_nodes": 1}
STALE = {
    "RANK": "1", "LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "1", "SLURM_PROCID": "3",
    "MASTER_ADDR": "node17.cluster", "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    foreign = ("SLURM", "TORCHELASTIC", "ROLE_", "OMPI", "PMI_")
    alone = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and name not in (*STALE, "LOCAL_WORLD_SIZE", PARENT_VARIABLE)
    }
    monkeypatch.setattr(os, "environ", alone)
    monkeypatch.setattr(launcher, "_nodes_by_hand", False)
    launcher._listens.cache_clear()
    return alone


@pytest.mark.parametrize("name", [*STALE, None])
def test_stale_variables_of_another_job_are_removed_with_one_note(name, environment, caplog, says):
    """A shell or job script still has NODE_RANK, RANK or MASTER_ADDR of another job; one process is started."""
    environment.update(STALE if name is None else {name: STALE[name]})
    assert is_main_process()
    with caplog.at_level(logging.INFO):
        drop_stale_variables()
    assert not set(STALE) & set(environment)
    assert len(caplog.records) == (name != "TORCHELASTIC_USE_AGENT_STORE")
    assert launch() == launcher.Launch()
    says(caplog.records[0].getMessage() if caplog.records else "nothing: the variable names no rank")


def test_torchrun_counts_while_it_serves_its_processes(environment, says):
    """`torchrun --nproc_per_node=2 train.py …` without `trainer.devices=2`."""
    with socket.create_server(("127.0.0.1", 0)) as agent:
        environment.update({**STALE, "TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2"})
        environment.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(agent.getsockname()[1])})
        drop_stale_variables()
        assert launch() == launcher.Launch("torchrun", 1, 2, 2)
        with pytest.raises(
            Galaxy10Error, match=r"torchrun started 2 processes, but .*; type trainer.devices=2$"
        ) as refused:
            check_processes(TRAINER)
        check_processes({**TRAINER, "devices": 2})
        with pytest.raises(Galaxy10Error, match="leave out torchrun"):
            check_one_process("a grid")
    launcher._listens.cache_clear()
    drop_stale_variables()
    assert launch() == launcher.Launch()
    says(str(refused.value))


def test_a_child_of_rank_zero_keeps_its_variables(environment, says):
    """A process that rank 0 has started inherits its rank; the rank of a parent that is gone does not count."""
    environment.update({**STALE, PARENT_VARIABLE: str(os.getppid())})
    drop_stale_variables()
    assert launch() == launcher.Launch("lightning", 1, 2)
    assert environment["MASTER_ADDR"] == STALE["MASTER_ADDR"]
    environment[PARENT_VARIABLE] = "1"
    assert is_main_process()
    says("the rank counts while rank 0 is the parent, and not afterwards")


def test_tasks_of_srun_count_and_one_task_is_one_process(environment, says):
    """`srun` starts two tasks, and a stale RANK=7 is in the environment; or `srun` starts one task."""
    environment.update({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "RANK": "7"})
    drop_stale_variables()
    assert launch() == launcher.Launch("srun", 1, 2, 2)
    environment["SLURM_STEP_NUM_TASKS"] = "1"
    assert is_main_process()
    says("two tasks: ranks 0 and 1 of SLURM; one task: a single process")


def test_mpirun_is_refused_with_what_to_type_and_its_stale_variables_are_ignored(environment, monkeypatch, says):
    """`mpirun -n 2 python train.py …`."""
    environment.update({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"})
    assert launch() == launcher.Launch()
    monkeypatch.setattr(launcher, "_has_ancestor", lambda programs: True)
    assert not is_main_process()
    with pytest.raises(Galaxy10Error, match=r"trainer.devices=2` without mpirun") as refused:
        check_processes(TRAINER)
    says(str(refused.value))


def test_several_nodes_may_be_started_by_hand(environment, says):
    """Two nodes are started by hand with NODE_RANK and MASTER_ADDR, and `trainer.num_nodes=2`."""
    environment.update({"NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500", "RANK": "5"})
    drop_stale_variables(num_nodes=2)
    assert not is_main_process()
    check_processes({**TRAINER, "num_nodes": 2})
    assert environment["MASTER_ADDR"] == "node0"
    assert "RANK" not in environment
    says("both variables count; RANK is left out")
