"""The processes of one run: their cluster environment, threads, and the death of one of them."""

import logging
import os
import subprocess
import threading
import time
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from galaxy10.compat import slurm_task_environment, watch_started_processes
from galaxy10.exit_codes import ExitCode, describe_exit
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.launcher import launch
from galaxy10.runs.signals import SignalHandler
from galaxy10.runs.slurm import threads_per_process
from galaxy10.system import limited_cpus
from galaxy10.training.loggers import close_loggers

logger = logging.getLogger(__name__)

POLL_EVERY_S = 0.5
# After a signal all processes stop; the first to end must not kill the last one.
STOPPING_S = 60.0
GONE_S = 5.0

_children: list[Any] = []  # the processes that this process has started


def cluster_environment() -> ClusterEnvironment:
    """Return Lightning's cluster environment for the launcher of this process.

    Lightning would choose by environment variables alone, which may be those of another job.
    """
    launcher = launch().launcher
    if launcher == "torchrun":
        return TorchElasticEnvironment()
    return slurm_task_environment() if launcher == "srun" else LightningEnvironment()


def set_threads_from_slurm() -> None:
    """Set torch's threads to the cores that SLURM gives each task, or a container's CPU quota allows.

    By default torch uses all cores of the node.
    """
    if (cores := limited_cpus()) is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores)
    threads = threads_per_process()
    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def watch_children(directory: RunDirectory, signal_handler: SignalHandler) -> None:
    """Watch the processes that Lightning starts; if one dies, end the run as failed, with the reason.

    Lightning's own watcher would kill this process without a message, also while it closes after a signal.
    """

    def watch(children: list[subprocess.Popen[bytes]]) -> None:
        _children.extend(children)
        threading.Thread(target=_watch, args=(children, directory, signal_handler), daemon=True).start()

    watch_started_processes(watch)


def kill_children() -> None:
    """Kill the processes that Lightning has started for this run."""
    for child in _children:
        child.kill()


def explain_dist_error(error: Exception) -> str | None:
    """Return the cause of a torch.distributed error, such as another process's death; None for other errors."""
    if "EADDRINUSE" in str(error):
        kill_children()
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        return f"another program uses {where}, where the processes of this run meet; run the same command again"
    if not any(word in f"{type(error).__name__} {error}" for word in ("gloo", "NCCL", "DistBackendError")):
        return None
    deadline = time.monotonic() + GONE_S
    while time.monotonic() < deadline:
        death = _death(_children)
        if death:
            return death
        time.sleep(POLL_EVERY_S)
    return "another process of this run has ended; see the log"


def _death(children: list[Any]) -> str | None:
    for number, child in enumerate(children, 1):
        code = child.poll()
        if code:
            return f"process {number} of {len(children) + 1}: {describe_exit(code)}"
    return None


def _watch(children: list[Any], directory: RunDirectory, signal_handler: SignalHandler) -> None:
    while not any(child.poll() for child in children):
        if all(child.returncode == 0 for child in children):
            return
        time.sleep(POLL_EVERY_S)
    if signal_handler.number is not None:
        time.sleep(STOPPING_S)
    else:
        time.sleep(2 * GONE_S)  # if all processes failed, rank 0 reports the reason
    for child in children:
        child.kill()
    message = directory.failure or _death(children)
    directory.end("failed", error=message)
    logger.error(f"error: {message}")
    directory.release()
    close_loggers(ExitCode.FAILED)
    os._exit(ExitCode.FAILED)
