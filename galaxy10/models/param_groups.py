"""Parameter groups for an optimizer, with settings of their own."""

from typing import Any

from torch import nn

from galaxy10.errors import Galaxy10Error


def no_decay_on_norms(module: nn.Module) -> list[dict[str, Any]]:
    """Return two parameter groups, the second without weight decay: biases and the scales of normalisation layers.

    Every vector is without weight decay, and the parameters that the network names in `no_weight_decay()`, as timm's
    transformers do: their size is no measure of a network's complexity. Frozen parameters and empty groups are left
    out.
    """
    spared_names = _named_by(getattr(module, "network", module))
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            own = name.removeprefix("network.")
            (spared if parameter.ndim <= 1 or own in spared_names else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def layer_decay(module: nn.Module, *, decay: float = 0.75) -> list[dict[str, Any]]:
    """Return parameter groups whose learning rate falls from the head to the first layer (Bao et al. 2022).

    Bao et al.: arXiv 2106.08254, appendix. The layers are timm's, from the network's method `group_matcher`: blocks of
    a transformer or of a convolutional network. Each group has an `lr_scale`: 1 for the head and everything outside the
    network, times `decay` for each layer before. Classifier multiplies the optimizer's learning rate by it, and
    schedulers start from there. Vectors and what the network names in `no_weight_decay()` are without weight decay.
    Frozen parameters are left out.

    Args:
        decay: ratio of the learning rates of neighbouring layers, above 0 and up to 1.

    Raises:
        Galaxy10Error: the network has no `group_matcher`.
    """
    network = getattr(module, "network", module)
    if not hasattr(network, "group_matcher"):
        raise Galaxy10Error(
            f"param_groups=layer_decay: {type(network).__name__} has no layers in timm's sense (method group_matcher); "
            "type param_groups=no_decay_on_norms, or another network"
        )
    from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # takes seconds: only for its networks

    groups: list[dict[str, Any]] = param_groups_layer_decay(
        network, weight_decay=1.0, no_weight_decay_list=_named_by(network), layer_decay=decay
    )
    for group in groups:
        if group["weight_decay"]:
            del group["weight_decay"]  # the optimizer's own
    known = {id(parameter) for parameter in network.parameters()}
    others = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
    return [*groups, {"params": others, "lr_scale": 1.0}] if others else groups


def _named_by(network: nn.Module) -> set[str]:
    """Return the parameters that a network names to be without weight decay, as timm's transformers do."""
    named = getattr(network, "no_weight_decay", None)
    return set(named()) if callable(named) else set()
