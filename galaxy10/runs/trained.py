"""A trained run that is to be used: whether there is one, and how it was configured."""

from pathlib import Path

import yaml

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json


def check_run(run: Path) -> dict:
    """The provenance of a run that can be used.

    Raises:
        Galaxy10Error: no run directory, or one without a trained network.
    """
    if not run.is_dir():
        raise Galaxy10Error(f"{run} is no folder; give the run directory that train.py printed (run_dir)")
    about = read_json(run / "provenance.json")
    if not about or not (run / "config.yaml").exists():
        raise Galaxy10Error(f"{run} is no run directory (no provenance.json); give the run_dir that train.py printed")
    if not (run / "checkpoints" / "best.ckpt").exists():
        state = read_json(run / "status.json").get("state", "unknown")
        raise Galaxy10Error(f"{run} has no checkpoints/best.ckpt (its state: {state}); let it train one epoch")
    return about


def run_config(run: Path) -> dict:
    """The configuration a run was trained with."""
    return yaml.safe_load((run / "config.yaml").read_text())
