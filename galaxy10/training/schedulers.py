"""Learning-rate schedules that torch has not: warm-up with cosine, and a one-cycle that is sized by the run.

Each takes the optimizer and the run's length in steps. `interval` says how often Lightning calls them.
"""

import math

from torch.optim import Optimizer, lr_scheduler


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    warmup_epochs: float = 1.0,
    min_lr_ratio: float = 0.01,
) -> lr_scheduler.LRScheduler:
    """Return a linear warm-up over warmup_epochs, then half a cosine down to min_lr_ratio of the rate at the end."""
    warmup = min(round(warmup_epochs * steps_per_epoch), total_steps - 1)

    def share(done: int) -> float:
        if done < warmup:
            return (done + 1) / (warmup + 1)
        progress = min(1.0, (done - warmup) / max(1, total_steps - warmup))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return lr_scheduler.LambdaLR(optimizer, share)


def onecycle(
    optimizer: Optimizer, total_steps: int, *, pct_start: float = 0.25, div_factor: float = 10.0
) -> lr_scheduler.LRScheduler:
    """Return a rise from rate/div_factor over pct_start of the run, then a fall to nearly nothing.

    The configured rate is the highest (Smith & Topin 2018, arXiv 1708.07120).
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    total = max(2, total_steps + 1)
    rise = max(pct_start, 1.5 / total)  # torch divides by the rise's steps less one, also where that is zero
    cycled = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)  # torch refuses optimizers without
    return lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=total, pct_start=rise, div_factor=div_factor, cycle_momentum=cycled
    )


cosine.interval = "step"  # type: ignore[attr-defined]
onecycle.interval = "step"  # type: ignore[attr-defined]
