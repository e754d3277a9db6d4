"""Groups of parameters for an optimizer: which of a module's parameters get which settings."""

from typing import Any

from torch import nn


def no_decay_on_norms(module: nn.Module) -> list[dict[str, Any]]:
    """Return two groups, of which weight decay spares the second: biases and the scales of normalisation layers.

    Everything that is a vector is spared, and what the network itself names in `no_weight_decay()` (as timm's
    transformers do): the size of these is no measure of a network's complexity.
    """
    network = getattr(module, "network", module)
    named = getattr(network, "no_weight_decay", None)
    spared_names = set(named()) if callable(named) else set()
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            own = name.removeprefix("network.")
            (spared if parameter.ndim <= 1 or own in spared_names else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
