"""Parameter groups for an optimizer, with settings of their own."""

from typing import Any

from torch import nn


def no_decay_on_norms(module: nn.Module) -> list[dict[str, Any]]:
    """Return two parameter groups, the second without weight decay: biases and the scales of normalisation layers.

    Every vector is without weight decay, and the parameters that the network names in `no_weight_decay()`, as timm's
    transformers do: their size is no measure of a network's complexity. Frozen parameters and empty groups are left
    out.
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
