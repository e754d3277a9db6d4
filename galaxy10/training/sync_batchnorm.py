"""Batch normalisation over all processes' galaxies (trainer.sync_batchnorm): with it, devices change speed alone.

Written here because torch's own exists for GPUs only, and because Lightning, putting it in, takes timm's layers, which
are batch norm and activation in one, for batch norm alone: the activations would be gone without a word.
"""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SyncedBatchNorm(LayerSync):
    """Lightning's plugin: every batch norm of the network takes its mean and variance from the whole step's batch."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Before training; parameters and names stay as they are."""
        for module in model.modules():
            if isinstance(module, _BATCH_NORMS) and not isinstance(module, OverProcesses):
                kind = type(module)
                module.__class__ = type(f"Synced{kind.__name__}", (OverProcesses, kind), {"alone": kind})
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """After training."""
        for module in model.modules():
            if isinstance(module, OverProcesses):
                module.__class__ = module.alone
        return model


class OverProcesses(nn.Module):
    """What is put before a batch norm class. alone: that class."""

    alone: Any
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    num_batches_tracked: torch.Tensor
    momentum: float
    eps: float

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, C, …) → the same shape, normalised over B of all processes; in evaluation as the class itself does."""
        if not self.training:
            return super().forward(inputs)
        axes = [axis for axis in range(inputs.dim()) if axis != 1]
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        sums = _sum_over_processes(torch.cat([values.sum(axes), values.new_tensor([values.numel() / values.shape[1]])]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = values - mean.view(shape)
        variance = _sum_over_processes((centred**2).sum(axes)) / count  # centred first: no difference of large numbers
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None and self.bias is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        out = normal.to(inputs.dtype)
        for name in ("drop", "act"):  # timm's BatchNormAct2d
            out = getattr(self, name)(out) if hasattr(self, name) else out
        return out


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    return _SumOverProcesses.apply(values) if dist.is_initialized() else values
