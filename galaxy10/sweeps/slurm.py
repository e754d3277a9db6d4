"""Handing commands over to SLURM, all of them as one job array, and waiting for it. Nothing here imports torch.

Account, partition, time limit and all that a site needs stand in slurm/job.sbatch, which every job is started with.
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
from galaxy10.files import replacing
from galaxy10.runs.devices import number_of_devices

_SCRIPT = Path("slurm", "array.sbatch")
POLL_S = 10.0
_UNKNOWN_JOB = "Invalid job id"


def check_slurm() -> None:
    """Whether jobs can be submitted from here.

    Raises:
        Galaxy10Error: SLURM is not installed on this machine.
    """
    if shutil.which("sbatch") is None:
        raise Galaxy10Error("there is no sbatch here; give this command on your cluster's login node")


def gpus_of(trainer: Mapping[str, Any]) -> int | None:
    """How many GPUs of each node a training asks for; None leaves them to slurm/job.sbatch.

    With accelerator=auto, too: whoever gives a number of devices and means processes on the CPU types accelerator=cpu.
    """
    return None if trainer["accelerator"] == "cpu" else number_of_devices(trainer["devices"])


def job_script() -> Path:
    """Return the script that every job is started with: the user's copy in ./slurm, else the one that came with us."""
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
    """Submit commands as one job array, each a task of its own that no other task's failure touches.

    Args:
        commands: the words of each; task i of the array runs commands[i] under srun.
        folder: where the list of commands and the logs (`<array>_<task>.log`) go; compute nodes must see it.
        name: of the job, as squeue shows it.
        cpus: cores of each process; gpus: GPUs of each node. None leaves both to slurm/job.sbatch.
        tasks_per_node, nodes: how many processes each command is started as.

    Returns:
        The array's job id.

    Raises:
        Galaxy10Error: there is no SLURM here, or it does not take the job; says what it said.
    """
    check_slurm()
    lines = "".join(shlex.join(command) + "\n" for command in commands)
    # A name of its own for every list: a requeued task reads it again.
    listed = folder.resolve() / f"{name}-{sha256(lines.encode()).hexdigest()[:8]}.commands"
    with replacing(listed) as part:
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
    answer = _ask("sbatch", *options, str(script), "--commands", str(listed))
    if answer.returncode:
        raise Galaxy10Error(
            f"SLURM did not take the job: {_said(answer)}; see the lines at the top of {script.with_name('job.sbatch')}"
        )
    return answer.stdout.strip().split(";")[0]


def array_states(job: str) -> dict[int, str]:
    """What SLURM says of an array's tasks: PENDING, RUNNING, COMPLETED, FAILED, …; it forgets after some minutes.

    Raises:
        OSError: the controller does not answer; it may later.
    """
    answer = _ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K %T")
    if answer.returncode and _UNKNOWN_JOB not in answer.stderr:
        raise OSError(_said(answer))
    lines = [line.split() for line in answer.stdout.splitlines()]
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


def wait_for_array(job: str, look: Callable[[dict[int, str]], None] = lambda states: None) -> None:
    """Until no task of an array is waiting or running any more, requeued ones included.

    look: told the states at every look.
    """
    while True:
        try:
            states = array_states(job)
        except OSError:  # a controller that restarts; the jobs do not mind
            time.sleep(POLL_S)
            continue
        look(states)
        if all(state in ENDED for state in states.values()):
            return
        time.sleep(POLL_S)


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


def _said(answer: subprocess.CompletedProcess[str]) -> str:
    lines = (answer.stderr or answer.stdout).strip().splitlines()
    return lines[-1].removeprefix("sbatch: error: ") if lines else f"exit code {answer.returncode}"
