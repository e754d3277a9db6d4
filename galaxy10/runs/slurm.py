"""The SLURM job of this process, from its environment variables."""

import os
import re
from dataclasses import dataclass
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.devices import number_of_devices, visible_gpus


def job_name() -> str | None:
    """Return `<job>` or `<array>_<task>`, which a requeue does not change; None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """Return how often this job was requeued."""
    return _whole_number("SLURM_RESTART_COUNT", 0)


@dataclass(frozen=True)
class JobStep:
    """A job step, the processes that one srun started.

    Attributes:
        number: id of the step in the job.
        tasks: number of processes.
        nodes: number of nodes.
        tasks_per_node: number of processes on each node; None if it differs between nodes.
    """

    number: str
    tasks: int
    nodes: int
    tasks_per_node: int | None


def job_step() -> JobStep | None:
    """Return the job step of this process; None if srun did not start it."""
    number = os.environ.get("SLURM_STEP_ID")
    tasks = _whole_number("SLURM_STEP_NUM_TASKS", 0)
    if number is None or not tasks:
        return None
    counts = os.environ.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))  # e.g. 4(x2), or 3,1
    same = re.fullmatch(r"(\d+)(\(x\d+\))?", counts)
    nodes = _whole_number("SLURM_STEP_NUM_NODES", 1)
    return JobStep(number, tasks, nodes, int(same.group(1)) if same else None)


def outside_step(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without the variables of srun, so that a child process is a run of its own, no task."""
    of_srun = ("SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    return {name: value for name, value in environment.items() if not name.startswith(of_srun)}


def check_job(trainer: dict[str, Any]) -> None:
    """Check that SLURM started as many processes as the configuration needs.

    Raises:
        Galaxy10Error: the numbers differ, so that some processes would wait forever; says which lines to change.
    """
    step, nodes = job_step(), trainer["num_nodes"]
    devices = number_of_devices(trainer["devices"]) or _every_device(trainer["accelerator"])
    wanted = f"sbatch --nodes={nodes} --ntasks-per-node={devices} slurm/train.sbatch …"
    if step is None:
        if nodes > 1 and "NODE_RANK" not in os.environ:
            raise Galaxy10Error(
                f"trainer.num_nodes={nodes}, but nothing starts the other nodes; type `{wanted}`, "
                "or trainer.num_nodes=1 for this machine alone"
            )
        return
    if (step.nodes, step.tasks_per_node) == (nodes, devices):
        return
    has = f"{step.tasks} task{'s' * (step.tasks > 1)} on {step.nodes} node{'s' * (step.nodes > 1)}"
    other = f", or trainer.devices={step.tasks_per_node} trainer.num_nodes={step.nodes}" if step.tasks_per_node else ""
    raise Galaxy10Error(
        f"trainer.devices={trainer['devices']} trainer.num_nodes={nodes} needs {devices * nodes} "
        f"process{'es' * (devices * nodes > 1)}, one per device, but this job has {has}; change the lines to "
        f"`#SBATCH --nodes={nodes}` and `#SBATCH --ntasks-per-node={devices}`, or type `{wanted}`{other}"
    )


def _every_device(accelerator: str) -> int:
    return 1 if accelerator == "cpu" else max(1, visible_gpus())


def threads_per_process() -> int | None:
    """Return the CPU cores that SLURM gives each task; None without such a limit, or if OMP_NUM_THREADS is set."""
    return None if os.environ.get("OMP_NUM_THREADS") else cpus_per_task()


def cpus_per_task() -> int | None:
    """Return the CPU cores that SLURM gives each task; of a job's several parts (`4,2` or `4(x2)`), the fewest."""
    numbers = re.findall(r"(?<![\dx])\d+", os.environ.get("SLURM_CPUS_PER_TASK", ""))
    return min((int(number) for number in numbers if int(number)), default=None)


def _whole_number(name: str, default: int) -> int:
    """Return the first number of a variable, which has several in a job of several parts; without one, the default."""
    found = re.match(r"\d+", os.environ.get(name, ""))
    return int(found.group()) if found else default
