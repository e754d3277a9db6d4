"""Learning-rate schedules: linear warm-up with cosine decay, and one-cycle for the length of the run.

Each function takes the optimizer and the run's length in steps. Its attribute `interval` says when Lightning steps it.
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
    """Return a schedule with linear warm-up, then cosine decay (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Args:
        total_steps: steps of the whole run.
        steps_per_epoch: optimizer steps of one epoch.
        warmup_epochs: length of the warm-up; at most the run's length less one step.
        min_lr_ratio: last learning rate over the configured one, from 0 to 1.
    """
    warmup = min(round(warmup_epochs * steps_per_epoch), total_steps - 1)

    def factor(done: int) -> float:
        if done < warmup:
            return (done + 1) / (warmup + 1)
        progress = min(1.0, (done - warmup) / max(1, total_steps - warmup))
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return lr_scheduler.LambdaLR(optimizer, factor)


def onecycle(
    optimizer: Optimizer, total_steps: int, *, pct_start: float = 0.25, div_factor: float = 10.0
) -> lr_scheduler.LRScheduler:
    """Return torch's OneCycleLR, with the configured learning rate as the maximum (Smith & Topin, arXiv 1708.07120).

    Args:
        total_steps: steps of the whole run.
        pct_start: fraction of the run in which the rate rises, from 0 to 1.
        div_factor: maximum learning rate over the first one.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    total = max(2, total_steps + 1)
    rise = max(pct_start, 1.5 / total)  # torch divides by the number of rising steps less one
    cycled = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)  # torch refuses to cycle without them
    return lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=total, pct_start=rise, div_factor=div_factor, cycle_momentum=cycled
    )


cosine.interval = "step"  # type: ignore[attr-defined]
onecycle.interval = "step"  # type: ignore[attr-defined]
