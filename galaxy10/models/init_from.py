"""Start a network from the weights of another finished run: `model.init_from=RUN`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from galaxy10.config.trust import check_trusted
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier
from galaxy10.runs.trained import checkpoint_hash

_TRAINING_ONLY = "criterion."


def preprocessing_of(checkpoint: Mapping[str, Any], path: Path) -> Preprocessing | None:
    """Return how a run's images became inputs; None for a custom data module that does not say so.

    Raises:
        Galaxy10Error: the checkpoint has no configuration, or names code that is not trusted.
    """
    about = checkpoint["galaxy10"]
    if about.get("model") is None:
        raise Galaxy10Error(f"model.init_from: {path} was written without a configuration; give the directory of a run")
    check_trusted(about["model"], str(path))
    return Preprocessing(**about["preprocessing"]) if about.get("preprocessing") else None


def take_weights(module: Classifier, checkpoint: Mapping[str, Any], run: Path) -> str:
    """Load a run's weights into a network, and return one line that says which; the record goes to module.init_record.

    All tensors are taken if the classes are the same, in the same order. Otherwise the head stays new: the layers of
    module.head, and every tensor whose first dimension is the number of classes in both.

    Args:
        checkpoint: the run's best (galaxy10.models.factory.load_checkpoint).

    Raises:
        Galaxy10Error: tensors do not fit: the run has another architecture, or an input size that its layers need.
    """
    about = checkpoint["galaxy10"]
    old_names, names = [str(name) for name in about["class_names"]], list(module.class_names)
    own, found = _weights(module.state_dict()), _weights(checkpoint["state_dict"])
    new = set() if names == old_names else _head(module, own, found, len(old_names))
    misfits = [
        f"{name} is {tuple(found[name].shape)} there and {tuple(tensor.shape)} here"
        if name in found
        else f"{name} is new"
        for name, tensor in own.items()
        if name not in new and (name not in found or found[name].shape != tensor.shape)
    ]
    misfits += [f"{name} is not in this network" for name in found if name not in own]
    if misfits:
        size, old_size = (m["image_size"] for m in (module.model_config or about["model"], about["model"]))
        raise Galaxy10Error(
            f"model.init_from={run} does not fit this network: {len(misfits)} of {len(own)} tensors differ, first "
            f"{misfits[0].removeprefix('network.')}; type the settings of that run (model={about['model']['name']} "
            f"model.image_size={old_size}{'' if size == old_size else f', here {size}'}), or give another run"
        )
    module.load_state_dict({name: tensor for name, tensor in found.items() if name not in new}, strict=False)
    taken = len(own) - len(new)
    module.init_record = {
        "run": str(run.resolve()),
        "checkpoint": checkpoint_hash(run),
        "class_names": old_names,
        "taken": taken,
        "new": sorted(new),
    }
    if not new:
        return f"all {taken} tensors of the run {run}"
    classes = f"{len(old_names)} classes there, {len(names)} here" if len(names) != len(old_names) else "other classes"
    listed = ", ".join(name.removeprefix("network.") for name in sorted(new))
    return f"{taken} of {len(own)} tensors of the run {run}; new: {listed} ({classes})"


def _weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state_dict.items() if not name.startswith(_TRAINING_ONLY)}


def _head(module: Classifier, own: Mapping[str, Tensor], found: Mapping[str, Tensor], old_classes: int) -> set[str]:
    """Return the names of the tensors that depend on the classes."""
    layers = {id(layer) for layer in module.head}
    prefixes = tuple(f"{name}." for name, layer in module.named_modules() if id(layer) in layers)
    new = {name for name in own if name.startswith(prefixes)}
    for name, tensor in own.items():
        old = tuple(found[name].shape) if name in found else ()
        if old and old != tuple(tensor.shape) and old == (old_classes, *tensor.shape[1:]):
            new |= {name} if tensor.shape[0] == module.num_classes else set()
    return new
