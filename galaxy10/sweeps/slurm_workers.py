"""Submit a study's workers to SLURM as a job array."""

from collections.abc import Sequence
from typing import Any

from galaxy10.config.paths import galaxy10_command
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.slurm import check_slurm, gpus_of, submit_array
from galaxy10.sweeps.study import create_or_load_study


def submit_workers(sweep: Sweep, workers: int, config: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Begin the study and submit one array task per worker.

    Args:
        config: the configuration that all trials share.
        arguments: of this command; every task runs the command again with one worker.

    Returns:
        The object of the last output line: the study and the array's job id.

    Raises:
        Galaxy10Error: the directory holds another study, or SLURM is missing or rejects the job.
    """
    check_slurm()
    create_or_load_study(sweep, config)
    kept = [word for word in arguments if not word.startswith(("sweep.launcher=", "sweep.workers="))]
    command = [*galaxy10_command("sweep"), *kept]
    folder = sweep.path / "slurm"
    job = submit_array([command] * workers, folder, name=f"sweep-{sweep.name}", gpus=gpus_of(config["trainer"]))
    return {"study": sweep.directory, "state": "submitted", "job": job, "workers": workers, "logs": str(folder)}
