"""Batch normalization over the images of all processes (trainer.sync_batchnorm): more devices change only the speed.

torch.nn.SyncBatchNorm exists for GPUs only; and Lightning's conversion to it drops the activations of timm's
BatchNormAct2d layers without a warning.
"""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import nn

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SyncedBatchNorm(LayerSync):
    """A Lightning plugin that makes every batch norm use the mean and variance over the batches of all processes."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert the batch norm layers in place; parameters and names do not change."""
        for module in model.modules():
            if isinstance(module, _BATCH_NORMS) and not isinstance(module, CrossProcessBatchNorm):
                original = type(module)
                name = f"Synced{original.__name__}"
                module.__class__ = type(name, (CrossProcessBatchNorm, original), {"original_class": original})
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo `apply`."""
        for module in model.modules():
            if isinstance(module, CrossProcessBatchNorm):
                module.__class__ = module.original_class
        return model


class CrossProcessBatchNorm(nn.Module):
    """A mixin before a batch norm class. original_class: that class."""

    original_class: Any
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    num_batches_tracked: torch.Tensor
    momentum: float
    eps: float

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalize inputs (B, C, …) over B of all processes; in evaluation mode, as the original class does.

        The running variance is unbiased, as torch's. A single value per channel over all processes gives inf in it.
        """
        if not self.training:
            evaluated: torch.Tensor = super().forward(inputs)
            return evaluated
        axes = [axis for axis in range(inputs.dim()) if axis != 1]
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        sums = _sum_over_processes(torch.cat([values.sum(axes), values.new_tensor([values.numel() / values.shape[1]])]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = values - mean.view(shape)
        variance = _sum_over_processes((centred**2).sum(axes)) / count  # centred first: no cancellation
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
    total: torch.Tensor = _SumOverProcesses.apply(values) if dist.is_initialized() else values
    return total
