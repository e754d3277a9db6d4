"""Optimizers as the configuration names them."""

from importlib import import_module
from typing import Any

import torch
from torch import nn

from galaxy10.errors import Galaxy10Error, first_line


def build_optimizer(
    module: nn.Module, *, optimizer_class: str, decay_norms_and_biases: bool = True, **settings: Any
) -> torch.optim.Optimizer:
    """An optimizer over all parameters that train.

    Args:
        optimizer_class: dotted name, e.g. torch.optim.AdamW.
        decay_norms_and_biases: if false, weight decay spares everything that is a vector: biases and the scales of
            normalisation layers, whose size is no measure of a network's complexity.
        settings: passed on (lr, weight_decay, momentum, …).

    Raises:
        Galaxy10Error: there is no such class, or it does not take these settings.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if decay_norms_and_biases:
        groups: list[dict[str, Any]] = [{"params": trained}]
    else:
        groups = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    package, _, name = optimizer_class.rpartition(".")
    try:
        build = getattr(import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Galaxy10Error(
            f"there is no optimizer.optimizer_class={optimizer_class}; give a dotted name such as torch.optim.AdamW"
        ) from error
    try:
        return build([group for group in groups if group["params"]], **settings)
    except (TypeError, ValueError) as error:
        raise Galaxy10Error(
            f"optimizer.optimizer_class={optimizer_class} cannot be made ({first_line(error)}); what it does not know "
            "is taken away like ~optimizer.fused, what it needs is added like +optimizer.momentum=0.9"
        ) from error
