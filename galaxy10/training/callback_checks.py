"""Check before data are read that averaged weights and mixed images go together with the rest of an experiment."""

from typing import Any

from galaxy10.config.building import build
from galaxy10.data.hdf5 import SourceFile
from galaxy10.errors import Galaxy10Error

_PACKAGE = "galaxy10.training.callbacks."
_AVERAGING, _MIXING = ("EMA",), ("MixUp", "CutMix")
_CONVERTED = ("16-true", "bf16-true", "64-true", "64")  # precisions of other weights than float32
_SHARDED = ("fsdp", "deepspeed")  # strategies that split the weights over processes


def check_callbacks(config: dict[str, Any], source: SourceFile | None) -> None:
    """Check the callbacks EMA, MixUp and CutMix against the model, the loss, the strategy and the precision.

    Args:
        source: the data file; None if it is not known yet. The loss is then checked when training starts.

    Raises:
        Galaxy10Error: a callback cannot work; the message says which to leave out.
    """
    averaging, mixing = _chosen(config, _AVERAGING), _chosen(config, _MIXING)
    model, strategy = config["model"], str(config["trainer"]["strategy"])
    if "optimizer" in model["unused_groups"]:
        for names, what in ((averaging, "no steps to average"), (mixing, "no batches to mix")):
            for name in names:
                raise Galaxy10Error(
                    f"model={model['name']} is solved at once and has {what}; leave out callbacks={name}"
                )
    if averaging and strategy.startswith(_SHARDED):
        raise Galaxy10Error(
            f"callbacks={averaging[0]} averages whole networks, and trainer.strategy={strategy} splits them over "
            "processes; type trainer.strategy=ddp"
        )
    if averaging and str(config["trainer"]["precision"]) in _CONVERTED:
        raise Galaxy10Error(
            f"callbacks={averaging[0]} averages float32 weights; type trainer.precision=bf16-mixed, or 32-true"
        )
    if mixing and source is not None:
        _check_loss(config["loss"], source)


def _chosen(config: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    """Return the names of the callbacks that are built from one of these classes."""
    nodes = {name: node for name, node in config["callbacks"].items() if isinstance(node, dict)}
    targets = {name: str(node.get("_target_")) for name, node in nodes.items()}
    return [name for name, x in targets.items() if x.startswith(_PACKAGE) and x.rpartition(".")[2] in classes]


def _check_loss(loss: dict[str, Any], source: SourceFile) -> None:
    if not loss.get("_target_") or loss["_target_"].startswith("galaxy10."):  # torch need not be imported for our own
        return
    from galaxy10.models.class_fractions import check_takes_fractions

    classes = len(source.names)
    context = {"num_classes": classes, "class_names": [*source.names], "class_counts": [1] * classes}
    check_takes_fractions(build(loss, context, "loss"), classes)
