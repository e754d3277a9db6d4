"""Environment and command line of the processes that import wandb."""

import os
import sys
from pathlib import Path


def wandb_environment(folder: Path | None) -> dict[str, str]:
    """Return an environment in which wandb prints nothing and writes only into `folder`."""
    # wandb refuses empty values; WANDB_SERVICE and WANDB_RESUME belong to another run.
    foreign = {key for key in os.environ if key.startswith("WANDB_") and not os.environ[key]}
    foreign |= {"WANDB_SERVICE", "WANDB_RESUME"}
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    root = str(Path(__file__).resolve().parents[3])  # for a checkout that is not installed
    environment["PYTHONPATH"] = os.pathsep.join(x for x in (root, environment.get("PYTHONPATH")) if x)
    environment |= {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}
    if folder:  # offline artifacts stay there until `wandb sync` uploads them
        environment |= {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
    home = os.path.expanduser("~")
    if folder and not (os.path.isdir(home) and os.access(home, os.W_OK)):
        environment.setdefault("WANDB_CONFIG_DIR", str(folder / "config"))
    return environment


def python_command(module: str) -> list[str]:
    """Return the command that runs a module, with -P so that modules in the working directory are not imported."""
    return [sys.executable, "-P", "-m", module]
