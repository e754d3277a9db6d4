"""Check the `logger` section without importing a logger."""

import os
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from galaxy10.config.building import HYDRA_KEYS
from galaxy10.config.fields import (
    Field,
    anything,
    boolean,
    check_fields,
    choice,
    did_you_mean,
    format_value,
    number,
    optional,
    text,
)
from galaxy10.errors import Galaxy10Error, first_line

WANDB = "galaxy10.training.loggers.WandbLogger"
TENSORBOARD = "galaxy10.training.loggers.TensorBoardLogger"

# The arguments of our loggers, by class.
ARGUMENTS: dict[str, dict[str, Field]] = {
    WANDB: {
        "mode": choice("auto", "online", "offline", "disabled"),
        "project": text(),
        "entity": optional(text()),
        "group": optional(text()),
        "tags": Field(
            lambda v: isinstance(v, list) and all(isinstance(x, str | int) for x in v), "a list, as in '[bars,test]'"
        ),
        "name": optional(text()),
        "log_model": boolean(),
        "upload_timeout_s": number(0, 86_400),
    },
    TENSORBOARD: {},
}

# The fields under their names in conf/logger.
FIELDS: dict[str, Field] = {
    "logger.wandb": anything(),
    "logger.tensorboard": anything(),
    **{f"logger.wandb.{key}": field for key, field in ARGUMENTS[WANDB].items()},
}

# Class → the package that it needs, and the argument of pip install.
_PACKAGES = {
    TENSORBOARD: ("tensorboard", '"galaxy10[tensorboard]"'),
    "lightning.pytorch.loggers.TensorBoardLogger": ("tensorboard", '"galaxy10[tensorboard]"'),
    "lightning.pytorch.loggers.MLFlowLogger": ("mlflow", "mlflow"),
    "lightning.pytorch.loggers.CometLogger": ("comet_ml", "comet-ml"),
    "lightning.pytorch.loggers.LitLogger": ("litlogger", "litlogger"),
}
_WANDB_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")


def check_loggers(section: Any) -> None:
    """Check the `logger` section; for classes outside of galaxy10, only whether their package is installed.

    Raises:
        Galaxy10Error: an entry has no class or a setting that its class does not have; a package is not installed;
            W&B is unreachable with mode=online.
    """
    of_class: dict[str, str] = {}
    for name, entry in _entries(section):
        where = f"logger.{name}"
        target = entry.get("_target_") if isinstance(entry, dict) else None
        if not isinstance(target, str):
            hint = did_you_mean(where, list(FIELDS)) if not isinstance(entry, dict) else ""
            hint = hint or f"; add {where}._target_=CLASS, a Lightning Logger"
            raise Galaxy10Error(f"{where}={format_value(entry)} names no logger{hint}")
        _check_installed(where, target)
        if target in ARGUMENTS:
            if target in of_class:
                class_name = target.rpartition(".")[2]
                raise Galaxy10Error(f"{of_class[target]} and {where} are both a {class_name}; leave out one of them")
            of_class[target] = where
            given = {f"{where}.{key}": value for key, value in entry.items() if key not in HYDRA_KEYS}
            check_fields(given, {f"{where}.{key}": field for key, field in ARGUMENTS[target].items()})
        if target == WANDB:
            _check_wandb(where, entry.get("mode"))


def _entries(section: Any) -> Iterator[tuple[str, Any]]:
    if section and not isinstance(section, dict):
        raise Galaxy10Error(
            f"logger={format_value(section)} is not allowed; expected choices, as in logger=[wandb,tensorboard]"
        )
    yield from ((name, entry) for name, entry in (section or {}).items() if entry is not None)


def _check_installed(where: str, target: str) -> None:
    package, install = _PACKAGES.get(target, (None, None))
    if package and find_spec(package) is None:
        raise Galaxy10Error(f"{where} needs the package {package}: pip install {install}, or leave it out: ~{where}")


def _check_wandb(where: str, mode: str | None) -> None:
    """Check environment variables on which importing wandb fails, and with mode=online the server."""
    from_environment, address = os.environ.get("WANDB_MODE"), os.environ.get("WANDB_BASE_URL")
    if from_environment and from_environment not in _WANDB_MODES:
        modes = " or ".join(_WANDB_MODES)
        raise Galaxy10Error(f"WANDB_MODE={from_environment} in the environment is not allowed; expected {modes}")
    if address and not address.startswith(("https://", "http://")):
        raise Galaxy10Error(f"WANDB_BASE_URL={address} in the environment is no URL; expected https://…")
    if mode != "online":
        return
    from galaxy10.training.loggers.wandb_environment import python_command, wandb_environment

    # In another process, because reading wandb's settings starts a server.
    command = python_command("galaxy10.training.loggers.wandb_server")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=wandb_environment(None))
        reason = done.stdout.strip() if done.returncode == 0 else first_line(RuntimeError(done.stderr))
    except subprocess.TimeoutExpired:
        reason = "no answer in 30 s"
    if reason:
        raise Galaxy10Error(f"{where}.mode=online, but {reason}; or type {where}.mode=auto")
