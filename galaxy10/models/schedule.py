"""Build Lightning's `lr_scheduler` entry from a scheduler of torch, or one with the same interface."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from galaxy10.config.building import matching_arguments
from galaxy10.errors import Galaxy10Error


def build_schedule(
    scheduler: Callable[..., Any],
    optimizer: torch.optim.Optimizer,
    steps: int,
    steps_per_epoch: int,
    interval: str,
    monitor: str,
    mode: str,
) -> dict[str, Any]:
    """Return the `lr_scheduler` entry of configure_optimizers.

    Args:
        scheduler: (optimizer) → scheduler; it is also given total_steps, T_max and steps_per_epoch if its signature
            names them and they are not set, and ReduceLROnPlateau is given its mode.
        steps: optimizer steps in the whole run.
        interval: epoch or step; an attribute `interval` of the scheduler takes precedence.
        monitor, mode: the metric that ReduceLROnPlateau monitors, and whether its min or max is best.

    Raises:
        Galaxy10Error: the scheduler does not take its arguments.
    """
    cls = getattr(scheduler, "func", scheduler)
    on_plateau = isinstance(cls, type) and issubclass(cls, ReduceLROnPlateau)
    interval = "epoch" if on_plateau else getattr(cls, "interval", None) or interval
    total = steps if interval == "step" else math.ceil(steps / steps_per_epoch)
    length: dict[str, Any] = {"total_steps": total, "T_max": total, "steps_per_epoch": steps_per_epoch}
    if on_plateau:
        length["mode"] = mode
    try:
        schedule = scheduler(optimizer, **matching_arguments(scheduler, length))
    except (TypeError, ValueError) as error:
        raise Galaxy10Error(f"scheduler: {getattr(cls, '__name__', cls)} cannot be built: {error}") from error
    entry: dict[str, Any] = {"scheduler": schedule, "interval": interval}
    return {**entry, "monitor": monitor} if on_plateau else entry
