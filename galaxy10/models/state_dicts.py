"""Load pretrained tensors into a network with a new head: every other tensor must fit."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from galaxy10.compat import timm_state_dict_filter
from galaxy10.errors import Galaxy10Error

# Prefixes that wrappers (data parallel, Lightning modules, Zoobot's encoders, torch.compile) add to names.
_WRAPPER = re.compile(r"^(module|_orig_mod|model|encoder|backbone|network)\.")
_COUNTER = "num_batches_tracked"


def load_by_name(network: nn.Module, tensors: dict[str, Tensor], origin: str, head: Iterable[nn.Module]) -> None:
    """Load tensors into the parts of the network that have the same names, ignoring wrappers' prefixes.

    Tensors for parts that the network does not have at all (an auxiliary or projection head) are left out.

    Args:
        origin: where the tensors come from, for the message.
        head: parts of the network that keep their weights.

    Raises:
        Galaxy10Error: tensors do not fit; the message has their number and the first. The network is then unchanged.
    """
    own = network.state_dict()
    wanted = _wanted(network, head)
    found = {_own_name(name, own): tensor for name, tensor in tensors.items()}
    misfits = _misfits(own, wanted, found)
    if misfits:
        # Weights as their authors published them, which timm can rename; its result for other files is discarded.
        converted = _converted_by_timm(network, found)
        if converted is None or _misfits(own, wanted, converted):
            raise Galaxy10Error(
                f"{origin} does not fit {_name(network)}: {len(misfits)} of {len(wanted)} tensors differ, first "
                f"{misfits[0]}; type the model.backbone these weights were trained for, another "
                "model.weights=FILE, or model.pretrained=false"
            )
        found = converted
    counters = {name for name in found if name.endswith(_COUNTER) and name in own}
    network.load_state_dict({name: found[name] for name in wanted | counters}, strict=False)


def load_in_order(network: nn.Module, tensors: dict[str, Tensor], origin: str, head: Iterable[nn.Module]) -> None:
    """Load tensors in the order of the network's, ignoring their names and num_batches_tracked.

    Raises:
        Galaxy10Error: the number of tensors or a shape differs.
    """
    own = [name for name in network.state_dict() if not name.endswith(_COUNTER)]
    values = [tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
    if len(own) != len(values):
        raise Galaxy10Error(
            f"{origin} holds {len(values)} tensors, {_name(network)} has {len(own)}; these weights belong to another "
            "network: type model.weights=FILE or model.pretrained=false"
        )
    load_by_name(network, dict(zip(own, values, strict=True)), origin, head)


def _wanted(network: nn.Module, head: Iterable[nn.Module]) -> set[str]:
    """Return the names of the tensors that must come from the weights."""
    new = {id(layer) for layer in head}
    kept = tuple(f"{name}." for name, layer in network.named_modules() if id(layer) in new)
    return {name for name in network.state_dict() if not name.startswith(kept) and not name.endswith(_COUNTER)}


def _own_name(name: str, own: dict[str, Tensor]) -> str:
    """Return the network's name for a tensor: prefixes are removed only while the name is unknown."""
    while name not in own and _WRAPPER.match(name):
        name = _WRAPPER.sub("", name)
    return name


def _misfits(own: dict[str, Tensor], wanted: set[str], found: dict[str, Tensor]) -> list[str]:
    """Return what does not fit, in the network's order: missing, of another shape, then tensors too many."""
    misfits = []
    for name in (name for name in own if name in wanted):
        if name not in found:
            misfits.append(f"{name} is missing")
        elif found[name].shape != own[name].shape:
            misfits.append(f"{name} is {tuple(found[name].shape)} instead of {tuple(own[name].shape)}")
    # More layers inside a part that the network has, too: weights of a deeper variant, most of which would fit.
    new = {_part(name) for name in own if name not in wanted and not name.endswith(_COUNTER)}
    shared = {_part(name) for name in wanted} - new
    misfits += [f"{name} is not in the network" for name in found if name not in own and _part(name) in shared]
    return misfits


def _part(name: str) -> str:
    return name.split(".")[0]


def _converted_by_timm(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
    convert = timm_state_dict_filter(network)
    if convert is None:
        return None
    try:
        return dict(convert(dict(tensors), network))
    except Exception:  # timm's filters do not check their input and raise anything on other files
        return None


def _name(network: Any) -> str:
    architecture = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    return str(architecture or type(network).__name__)
