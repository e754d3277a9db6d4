"""Optimizers as the configuration names them."""

from typing import Any

import torch
from hydra.utils import get_class
from torch import nn


def build_optimizer(
    module: nn.Module, *, optimizer_class: str, decay_norms_and_biases: bool = True, **settings: Any
) -> torch.optim.Optimizer:
    """An optimizer over all parameters that train.

    Args:
        optimizer_class: dotted name, e.g. torch.optim.AdamW.
        decay_norms_and_biases: if false, weight decay spares everything that is a vector: biases and the scales of
            normalisation layers, whose size is no measure of a network's complexity.
        settings: passed on (lr, weight_decay, momentum, …).
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if decay_norms_and_biases:
        groups: list[dict[str, Any]] = [{"params": trained}]
    else:
        groups = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    return get_class(optimizer_class)([group for group in groups if group["params"]], **settings)
