"""Submit commands to SLURM as one job array, and wait for it. This file does not import torch.

Account, partition, time limit and other settings of a site are in slurm/job.sbatch, the script of every job.
"""

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from galaxy10.config.paths import SLURM_SCRIPTS
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.runs.devices import number_of_devices

_SCRIPT = Path("slurm", "array.sbatch")
POLL_S = 10.0
_UNKNOWN_JOB = "Invalid job id"


def check_slurm() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        Galaxy10Error: sbatch is not installed.
    """
    if shutil.which("sbatch") is None:
        raise Galaxy10Error("there is no sbatch on this machine; run this command on your cluster's login node")


def gpus_of(trainer: Mapping[str, Any]) -> int | None:
    """Return the number of GPUs per node that a training needs; None leaves it to slurm/job.sbatch.

    A number of devices means GPUs with accelerator=auto, too; processes on the CPU need accelerator=cpu.
    """
    return None if trainer["accelerator"] == "cpu" else number_of_devices(trainer["devices"])


def job_script() -> Path:
    """Return the script of every job: the user's copy in ./slurm, else the one in the package."""
    return _SCRIPT if _SCRIPT.exists() else SLURM_SCRIPTS / _SCRIPT.name


def submit_array(
    commands: Sequence[Sequence[str]],
    folder: Path,
    *,
    name: str,
    cpus: int | None = None,
    gpus: int | None = None,
    tasks_per_node: int = 1,
    nodes: int = 1,
) -> str:
    """Submit commands as one job array; a failing task does not affect the others.

    Args:
        commands: task i of the array runs commands[i] under srun.
        folder: for the list of commands and the logs (`<array>_<task>.log`); must be visible to the compute nodes.
        name: of the job, as squeue shows it.
        cpus: cores per process; None: as in slurm/job.sbatch.
        gpus: GPUs per node; None: as in slurm/job.sbatch.
        tasks_per_node: processes per node of each command.
        nodes: nodes of each command.

    Returns:
        The array's job id.

    Raises:
        Galaxy10Error: sbatch is not installed, or SLURM rejects the job.
    """
    check_slurm()
    lines = "".join(shlex.join(command) + "\n" for command in commands)
    # Every list has its own name: a requeued task reads the list again.
    listed = folder.resolve() / f"{name}-{sha256(lines.encode()).hexdigest()[:8]}.commands"
    with atomic_write(listed) as part:
        part.write_text(lines)
    options = [
        "--parsable",
        f"--array=0-{len(commands) - 1}",
        f"--job-name={name}",
        f"--output={listed.parent}/%A_%a.log",
        f"--nodes={nodes}",
        f"--ntasks-per-node={tasks_per_node}",
        *([f"--cpus-per-task={cpus}"] if cpus else []),
        *([f"--gpus-per-node={gpus}"] if gpus else []),
    ]
    script = job_script()
    done = _run("sbatch", *options, str(script), "--commands", str(listed))
    if done.returncode:
        raise Galaxy10Error(
            f"SLURM rejected the job: {_error(done)}; edit the lines at the top of {script.with_name('job.sbatch')}"
        )
    return done.stdout.strip().split(";")[0]


def array_states(job: str) -> dict[int, str]:
    """Return the state of an array's tasks (PENDING, RUNNING, COMPLETED, FAILED, …); SLURM forgets ended tasks.

    Raises:
        OSError: the controller does not respond at the moment.
    """
    done = _run("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K %T")
    if done.returncode and _UNKNOWN_JOB not in done.stderr:
        raise OSError(_error(done))
    lines = [line.split() for line in done.stdout.splitlines()]
    return {int(line[0]): line[1] for line in lines if line[0].isdigit()}


ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "REVOKED",
)


def wait_for_array(job: str, on_poll: Callable[[dict[int, str]], None] = lambda states: None) -> None:
    """Wait until no task of an array is pending, running or requeued.

    on_poll: called with the states of the tasks at every poll.
    """
    while True:
        try:
            states = array_states(job)
        except OSError:  # the controller may restart while jobs run
            time.sleep(POLL_S)
            continue
        on_poll(states)
        if all(state in ENDED for state in states.values()):
            return
        time.sleep(POLL_S)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


def _error(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1].removeprefix("sbatch: error: ") if lines else f"exit code {done.returncode}"
