"""The processes of one run: who starts them, how many threads each has, and what happens when one of them dies."""

import logging
import os
import subprocess
import threading
import time
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from galaxy10.compat import slurm_task_environment, watch_started_processes
from galaxy10.exit_codes import ExitCode, describe_exit
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.signals import SignalHandler
from galaxy10.runs.slurm import job_name, job_step, threads_per_process
from galaxy10.training.loggers import close_loggers

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
# Having been told to stop, all processes stop; the first to end are not to take the last one with them.
STOPPING_S = 60.0
GONE_S = 5.0

_children: list[Any] = []  # the processes that this one has started


def cluster_environment() -> ClusterEnvironment | None:
    """How Lightning is to find its processes; None leaves it to Lightning.

    Within a job but not under srun, processes are started as on a laptop: Lightning would wait for tasks of the job.
    """
    if job_name() is None:
        return None
    step = job_step()
    return slurm_task_environment() if step is not None and step.tasks > 1 else LightningEnvironment()


def set_threads_from_slurm() -> None:
    """As many threads as SLURM gives each task cores: by default torch takes all that the node has."""
    threads = threads_per_process()
    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def watch_children(directory: RunDirectory, signal_handler: SignalHandler) -> None:
    """Let a run on this machine end as failed, saying why, when one of the processes it has started dies.

    Lightning's own watcher would kill this process without a word, also while it closes after a signal.
    """

    def watch(children: list[subprocess.Popen[bytes]]) -> None:
        _children.extend(children)
        threading.Thread(target=_watch, args=(children, directory, signal_handler), daemon=True).start()

    watch_started_processes(watch)


def explain_dist_error(error: Exception) -> str | None:
    """What an error of torch.distributed really means: another process of this run has died. None for other errors."""
    if not any(word in f"{type(error).__name__} {error}" for word in ("gloo", "NCCL", "DistBackendError")):
        return None
    deadline = time.monotonic() + GONE_S
    while time.monotonic() < deadline:
        death = _death(_children)
        if death:
            return death
        time.sleep(LOOK_EVERY_S)
    return "another process of this run has ended; the log says which"


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
        time.sleep(LOOK_EVERY_S)
    if signal_handler.number is not None:
        time.sleep(STOPPING_S)
    else:
        time.sleep(2 * GONE_S)  # one that failed as all did: the first process says why
    for child in children:
        child.kill()
    message = directory.failure or _death(children)
    directory.end("failed", error=message)
    logger.error(f"error: {message}")
    directory.release()
    close_loggers(ExitCode.FAILED)
    os._exit(ExitCode.FAILED)
