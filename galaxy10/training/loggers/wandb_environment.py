"""The environment of the processes that import wandb."""

import os
import sys
from pathlib import Path


def wandb_environment(folder: Path | None) -> dict[str, str]:
    """Return an environment in which wandb says nothing and writes nowhere but into `folder`."""
    # An empty value is an error for wandb; another run's server or an order to resume are not for this one.
    foreign = {key for key in os.environ if key.startswith("WANDB_") and not os.environ[key]}
    foreign |= {"WANDB_SERVICE", "WANDB_RESUME"}
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    root = str(Path(__file__).resolve().parents[3])  # galaxy10 need not be installed
    environment["PYTHONPATH"] = os.pathsep.join(x for x in (root, environment.get("PYTHONPATH")) if x)
    environment |= {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}
    if folder:  # offline artifacts stay in here until `wandb sync` sends them
        environment |= {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
    return environment


def python_command(module: str) -> list[str]:
    """Return the command that runs a module; with -P, so that nothing in the user's folder is imported."""
    return [sys.executable, "-P", "-m", module]
