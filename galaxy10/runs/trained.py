"""A trained run that is to be used: whether there is one, and how it was configured."""

from pathlib import Path

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles, check_format


def check_run(run: Path) -> dict:
    """The provenance of a run that can be used.

    Raises:
        Galaxy10Error: no run directory, one that another version wrote, or one without a trained network.
    """
    if not run.is_dir():
        raise Galaxy10Error(f"{run} is no folder; give the run directory that train.py printed (run_dir)")
    files = RunFiles(run)
    about = files.read_provenance()
    if not about or not files.config.exists():
        raise Galaxy10Error(
            f"{run} is no run directory (no {files.provenance.name}); give the run_dir that train.py printed"
        )
    check_format(run, about)
    if not files.best.exists():
        state = files.read_status().get("state", "unknown")
        raise Galaxy10Error(f"{run} has no {files.best.relative_to(run)} (its state: {state}); let it train one epoch")
    return about


def run_config(run: Path) -> dict:
    """The configuration a run was trained with."""
    return RunFiles(run).read_config()
