"""Learning-rate schedules as the configuration names them: each gives Lightning's `lr_scheduler` dictionary."""

import math
from typing import Any

from torch.optim import Optimizer, lr_scheduler


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, step_size: int, gamma: float
) -> dict[str, Any]:
    """Multiply the rate by gamma every step_size epochs."""
    return {"scheduler": lr_scheduler.StepLR(optimizer, step_size, gamma), "interval": "epoch"}


def cosine(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, warmup_epochs: float, min_lr_ratio: float
) -> dict[str, Any]:
    """Linear warm-up over warmup_epochs, then half a cosine down to min_lr_ratio of the rate at the last step."""
    warmup = min(round(warmup_epochs * steps_per_epoch), total_steps - 1)

    def share(done: int) -> float:
        if done < warmup:
            return (done + 1) / (warmup + 1)
        progress = min(1.0, (done - warmup) / max(1, total_steps - warmup))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return {"scheduler": lr_scheduler.LambdaLR(optimizer, share), "interval": "step"}


def onecycle(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, pct_start: float, div_factor: float
) -> dict[str, Any]:
    """Up from rate/div_factor over pct_start of the run, then down to nearly nothing (Smith & Topin 2018,
    arXiv 1708.07120); the configured rate is the highest."""
    rates = [group["lr"] for group in optimizer.param_groups]
    total = max(2, total_steps + 1)
    rise = max(pct_start, 1.5 / total)  # torch divides by the rise's steps less one, also where that is zero
    schedule = lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total, pct_start=rise, div_factor=div_factor)
    return {"scheduler": schedule, "interval": "step"}
