"""The paths of conf/ and slurm/: beside the package in a checkout, inside it in a wheel. Imports no library."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from galaxy10.errors import Galaxy10Error
from galaxy10.system import temporary_home

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = None if (PACKAGE / "conf").is_dir() else PACKAGE.parent


def packaged_folder(name: str) -> Path:
    """Return the path of a folder that is in the checkout's root or, in a wheel, inside the package (see setup.py)."""
    return CHECKOUT / name if CHECKOUT is not None else PACKAGE / name


CONF = packaged_folder("conf")
# Settings whose values are paths.
PATH_SETTINGS = (
    "run.dir",
    "run.root",
    "data.path",
    "data.dir",
    "data.store_dir",
    "data.split_file",
    "model.weights",
    "model.init_from",
    "sweep.dir",
)
SLURM_SCRIPTS = packaged_folder("slurm")


def program(command: str) -> str:
    """Return how users type a command (train, sweep): `python train.py` in a checkout, else `galaxy10 train`."""
    return f"python {command}.py" if CHECKOUT is not None else f"galaxy10 {command}"


def galaxy10_command(command: str) -> list[str]:
    """Return the argv prefix that runs a galaxy10 command with this Python."""
    return [sys.executable, "-m", "galaxy10", command]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child process, with this checkout first on PYTHONPATH."""
    if CHECKOUT is None:
        return dict(environment)
    path = [word for word in environment.get("PYTHONPATH", "").split(os.pathsep) if word]
    return {**environment, "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(CHECKOUT), *path]))}


def expand_home(path: str) -> str:
    """Return a path with `~` or `~name` at its beginning replaced by the home directory.

    Raises:
        Galaxy10Error: there is no such home directory.
    """
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded == path or expanded.startswith(temporary_home()):
        raise Galaxy10Error(f"{path}: there is no home directory {path.partition('/')[0]}; type the whole path")
    return expanded


def import_from_working_directory() -> None:
    """Add the working directory to sys.path, as `python -m` does, so that a user's package there can be imported."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
