"""A study's workers as a job array on SLURM: submitted from the login node, then on their own."""

from collections.abc import Sequence
from typing import Any

from galaxy10.config.paths import command_line
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.slurm import check_slurm, gpus_of, submit_array
from galaxy10.sweeps.study import begin_study


def submit_workers(sweep: Sweep, workers: int, config: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Begin the study, so that what is wrong with it shows here, and submit one array task per worker.

    Args:
        config: what all trials share.
        arguments: of this command, which every task gives again for one worker of its own.

    Returns:
        The object of the last output line: the study and the array's job id.

    Raises:
        Galaxy10Error: another study is in the directory; SLURM is not here or does not take the job.
    """
    check_slurm()
    begin_study(sweep, config)
    kept = [word for word in arguments if not word.startswith(("sweep.launcher=", "sweep.workers="))]
    command = [*command_line("sweep"), *kept]
    folder = sweep.path / "slurm"
    job = submit_array([command] * workers, folder, name=f"sweep-{sweep.name}", gpus=gpus_of(config["trainer"]))
    return {"study": sweep.directory, "state": "submitted", "job": job, "workers": workers, "logs": str(folder)}
