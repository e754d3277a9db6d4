"""Where conf/ and slurm/ are: beside the package in a checkout, inside it in a wheel. Imports no library."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = None if (PACKAGE / "conf").is_dir() else PACKAGE.parent


def packaged_folder(name: str) -> Path:
    """Return the folder of a checkout that a wheel carries inside the package (setup.py maps it there)."""
    return CHECKOUT / name if CHECKOUT is not None else PACKAGE / name


CONF = packaged_folder("conf")
SLURM_SCRIPTS = packaged_folder("slurm")


def program(command: str) -> str:
    """Return how train or sweep is typed here: `python train.py` in a checkout, else `galaxy10 train`."""
    return f"python {command}.py" if CHECKOUT is not None else f"galaxy10 {command}"


def galaxy10_command(command: str) -> list[str]:
    """Return the words that start a command of galaxy10 with this Python, wherever the package is."""
    return [sys.executable, "-m", "galaxy10", command]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a child process imports this very package, also if it is not installed."""
    if CHECKOUT is None:
        return dict(environment)
    path = [word for word in environment.get("PYTHONPATH", "").split(os.pathsep) if word]
    return {**environment, "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(CHECKOUT), *path]))}


def import_from_working_directory() -> None:
    """Let a user's package in the working directory be imported, as `python -m` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
