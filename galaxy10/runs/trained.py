"""Check a trained run before it is used, and read its configuration."""

import hashlib
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles, check_format


def check_run(run: Path) -> dict[str, Any]:
    """Check that a directory holds a trained run, and return its provenance.

    Raises:
        Galaxy10Error: `run` is no run directory, was written by another version, or has no trained network.
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


def checkpoint_hash(run: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a run's best checkpoint."""
    with RunFiles(run).best.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def run_config(run: Path) -> dict[str, Any]:
    """Return the configuration that a run was trained with.

    Raises:
        Galaxy10Error: config.yaml is damaged.
    """
    return RunFiles(run).read_config()
