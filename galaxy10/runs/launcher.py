"""The launcher that started this process, and this process's rank among those it started.

Ranks count only where a launcher that is recognised started several processes: srun, torchrun, or Lightning in another
process of the same run. Rank variables of any other origin belong to another job, and are removed.
"""

import logging
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from galaxy10.config.paths import program
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import signal_exit_code
from galaxy10.runs.devices import number_of_devices, visible_gpus
from galaxy10.runs.slurm import check_job, job_step

logger = logging.getLogger(__name__)

# Set by rank 0 for the processes that Lightning starts: its process id.
PARENT_VARIABLE = "GALAXY10_RANK_0_PID"
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
_SLURM_RANKS = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
_ADDRESSES = ("MASTER_ADDR", "MASTER_PORT", "STANDALONE_PORT")
_OF_TORCHRUN = ("TORCHELASTIC_", "ROLE_")
_MPI_SIZES = {"OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK", "PMI_SIZE": "PMI_RANK"}
_MPI_PROGRAMS = ("mpirun", "mpiexec", "orterun", "orted", "prte", "prun", "hydra_pmi_proxy")
_PROBE_S = 3.0
_RENDEZVOUS_S = 120
_PARENT_POLL_S = 0.5

_nodes_by_hand = False  # trainer.num_nodes > 1 with NODE_RANK: the user starts one process per node


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes:
        launcher: srun, torchrun, mpirun, lightning (started by rank 0), hand (NODE_RANK and trainer.num_nodes), or
            None for a process on its own.
        rank: rank among all processes, 0 for the process that writes; for `hand`, among those of this node if they
            are several, else the node's.
        size: number of processes that the launcher started.
        local_size: number of them on this node; None if unknown.
    """

    launcher: str | None = None
    rank: int = 0
    size: int = 1
    local_size: int | None = None


def launch() -> Launch:
    """Return how this process was started."""
    size = _number("WORLD_SIZE", 1)
    if "TORCHELASTIC_RUN_ID" in os.environ and size > 1 and "RANK" in os.environ and _agent_listens():
        return Launch("torchrun", _number("RANK"), size, _number("LOCAL_WORLD_SIZE") or None)
    local, node = _number("LOCAL_RANK"), _number("NODE_RANK")
    if local > 0 and os.environ.get(PARENT_VARIABLE) == str(os.getppid()):
        return Launch("lightning", local, size)
    step = job_step()
    if step is not None and step.tasks > 1:
        return Launch("srun", _number("SLURM_PROCID"), step.tasks, step.tasks_per_node)
    if (mpi := _mpi_launch()) is not None:
        return mpi
    return Launch("hand", node) if _nodes_by_hand else Launch()


def _number(name: str, default: int = 0) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default


def _agent_listens() -> bool:
    """Return whether torchrun still serves its processes; variables of a torchrun that has ended count for nothing."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    return _listens(os.environ.get("MASTER_ADDR", ""), _number("MASTER_PORT"))


@cache
def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PROBE_S).close()
    except (ConnectionRefusedError, socket.gaierror):
        return False
    except OSError:  # slow, or not reachable: the rendezvous has a limit of its own
        return True
    return True


def _mpi_launch() -> Launch | None:
    for size, rank in _MPI_SIZES.items():
        if _number(size) > 1 and _has_ancestor(_MPI_PROGRAMS):
            return Launch("mpirun", _number(rank), _number(size), _number("OMPI_COMM_WORLD_LOCAL_SIZE") or None)
    return None


@cache
def _has_ancestor(programs: tuple[str, ...]) -> bool:
    """Return whether one of these programs started this process, directly or not; true where this is unknown."""
    if not Path("/proc/self/stat").exists():
        return True
    pid = os.getppid()
    while pid > 0:
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return False
        if name.startswith(programs):
            return True
        pid = int(rest.split()[1])
    return False


def rendezvous_limit_s() -> int:
    """Return the longest wait for the other processes of a run, seconds; GALAXY10_RENDEZVOUS_S sets it."""
    return _number("GALAXY10_RENDEZVOUS_S") or _RENDEZVOUS_S


def started_together() -> datetime | None:
    """Return when torchrun started on this machine, the same in all its processes; None otherwise, and elsewhere."""
    started = launch()
    if started.launcher != "torchrun" or started.local_size != started.size:
        return None
    try:
        fields = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except OSError:
        return None
    return datetime.fromtimestamp(int(booted.split()[1]) + int(fields[19]) // os.sysconf("SC_CLK_TCK"))


def drop_stale_variables(num_nodes: int = 1) -> None:
    """Remove the rank variables that no launcher of this process has set, so that torch and Lightning ignore them, too.

    Args:
        num_nodes: trainer.num_nodes; with several nodes and NODE_RANK, the user starts a process on each node.
    """
    global _nodes_by_hand
    started = launch().launcher
    _nodes_by_hand = started is None and num_nodes > 1 and "NODE_RANK" in os.environ
    if started in ("torchrun", "lightning"):
        return
    kept: tuple[str, ...] = ("MASTER_ADDR", "MASTER_PORT") if started == "srun" else ()
    if _nodes_by_hand:
        kept = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    names = [name for name in (*_RANKS, *_ADDRESSES) if name in os.environ and name not in kept]
    if started != "srun" and _number("SLURM_PROCID") > 0:
        names += [name for name in _SLURM_RANKS if name in os.environ]
    theirs = [name for name in os.environ if name.startswith(_OF_TORCHRUN)]
    alone = _number("WORLD_SIZE", 1) == 1 and bool(theirs)  # torchrun with one process
    for name in (*names, *theirs):
        del os.environ[name]
    if names and not alone and launch().rank == 0:
        what = "srun" if started == "srun" else "no launcher"
        logger.info(f"note    ignored {', '.join(names)} in the environment: {what} set them for this process")


def without_ranks(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without rank variables, for a run of its own."""
    foreign = (*_RANKS, *_ADDRESSES, PARENT_VARIABLE)
    return {k: v for k, v in environment.items() if k not in foreign and not k.startswith(_OF_TORCHRUN)}


def check_processes(trainer: dict[str, Any]) -> None:
    """Check that the launcher started as many processes as the configuration needs.

    Raises:
        Galaxy10Error: the numbers differ; says what to type.
    """
    started, nodes = launch(), trainer["num_nodes"]
    if started.launcher == "mpirun":
        raise Galaxy10Error(
            f"mpirun started {started.size} processes, and galaxy10 starts its processes itself; type "
            f"`{program('train')} … trainer.devices={started.local_size or started.size}` without mpirun"
        )
    if started.launcher != "torchrun":
        if started.launcher not in ("lightning", "hand"):
            check_job(trainer)
        return
    gpus = 0 if trainer["accelerator"] == "cpu" else visible_gpus()
    devices = number_of_devices(trainer["devices"]) or max(1, gpus)
    local = started.local_size or started.size
    if (devices * nodes, devices) == (started.size, local):
        return
    there = f" trainer.num_nodes={started.size // local}" if started.size > local or nodes > 1 else ""
    raise Galaxy10Error(
        f"torchrun started {started.size} processes, but trainer.devices={trainer['devices']} "
        f"trainer.num_nodes={nodes} needs {devices * nodes}, one per device; type trainer.devices={local}{there}"
    )


def check_one_process(what: str) -> None:
    """Check that a command that starts processes itself runs in one process.

    Raises:
        Galaxy10Error: torchrun or mpirun started several.
    """
    started = launch()
    if started.launcher in ("torchrun", "mpirun"):
        raise Galaxy10Error(
            f"{started.launcher} started {started.size} processes, but {what} starts its processes itself; "
            f"leave out {started.launcher}, and give each run its devices with trainer.devices=…"
        )


def end_with_rank_zero() -> None:
    """In a process that Lightning started, end as soon as rank 0 is gone, also while waiting for it in C++.

    A process whose rank 0 died before it got here ends at once: it must not begin a run of its own.
    """
    if PARENT_VARIABLE not in os.environ or _number("LOCAL_RANK") == 0 or _number("WORLD_SIZE", 1) == 1:
        return
    parent = _number(PARENT_VARIABLE)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        os._exit(signal_exit_code(signal.SIGTERM))

    threading.Thread(target=watch, daemon=True).start()
