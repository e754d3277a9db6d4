"""Check an experiment's configuration before torch is imported or an image is read."""

import os
import shutil
from typing import Any

from galaxy10.classes import slugs
from galaxy10.config.building import HYDRA_KEYS, check_signature, iter_targets, parameters_of, resolve
from galaxy10.config.fields import did_you_mean, find_field
from galaxy10.config.groups import trainer_keys
from galaxy10.data.build import check_data
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.settings import uses_galaxy_data
from galaxy10.data.votes import votes_of
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import DEFAULT_METRIC_NAMES, VOTE_METRIC_NAMES, metric_directions, metric_mode
from galaxy10.models.settings import INPUT_SETTINGS, class_arguments, not_a_classifier_message
from galaxy10.runs.devices import check_devices, has_accelerator, number_of_devices, visible_gpus
from galaxy10.runs.launcher import check_processes
from galaxy10.training.callback_checks import check_callbacks
from galaxy10.training.inherited import check_init_from
from galaxy10.training.loggers import check_loggers
from galaxy10.training.settings import FIELDS
from galaxy10.training.votes import check_settings_of_votes, check_votes_for

# Arguments that galaxy10 adds if a class has them in its signature; see docs/extending.md.
SUPPLIED = frozenset(
    ("num_classes", "class_names", "class_counts", "image_size", "total_steps", "T_max", "steps_per_epoch", "save_dir")
)
_METRIC_OPTIONS = ("direction", "label")
# Number of positional arguments of each call: (logits, labels), (module), (parameter groups), (optimizer).
_CALLED_WITH = {"loss": 2, "param_groups": 1, "optimizer": 1, "scheduler": 1}
# Classes whose keys in this package's own YAML are known to be right: torch need not be imported to check them.
_SHIPPED = {
    "torch.optim.AdamW": {"lr", "weight_decay"},
    "torch.optim.SGD": {"lr", "momentum", "nesterov", "weight_decay"},
    "torch.optim.lr_scheduler.StepLR": {"step_size", "gamma"},
}


def check_experiment(config: dict[str, Any], here: bool = True) -> None:
    """Check a configuration for consistency, and against this machine, the data file and the pretrained weights.

    Args:
        here: whether the experiment runs on this machine and in this SLURM job; if not, neither is checked.

    Raises:
        Galaxy10Error: the experiment cannot work; says which key to change.
    """
    _check_trainer(config["trainer"])
    if here:
        check_devices(config["trainer"])
        check_processes(config["trainer"])
    check_loggers(config["logger"])
    if uses_galaxy_data(config["data"]):
        _check_batches(config, here)
        _check_device_cache(config, here)
    _check_precision(config)
    _check_compile(config, here)
    _check_backbone(config["model"])
    _check_image_size(config["model"])
    check_init_from(config["model"])
    _check_unused_groups(config)
    check_settings_of_votes(config)
    source = check_data(config["data"], config["augment"])
    if source is not None:
        check_votes_for(config, votes_of(source.table))
    _check_targets(config)
    _check_monitors(config, source)
    check_callbacks(config, source)
    if config["model"]["pretrained"] and config["model"]["init_from"] is None:
        from galaxy10.models.weights import check_weights_reachable

        check_weights_reachable(config["model"]["backbone"], config["model"]["weights"])


def _check_trainer(trainer: dict[str, Any]) -> None:
    """Check that settings added with + are arguments of Lightning's Trainer."""
    known = trainer_keys()
    unknown = sorted(set(trainer) - known)
    if unknown:
        raise Galaxy10Error(f"Lightning's Trainer has no trainer.{unknown[0]}{did_you_mean(unknown[0], sorted(known))}")
    if trainer["limit_train_batches"] == 0:
        raise Galaxy10Error(
            "trainer.limit_train_batches=0 trains on no batch; leave it out, or to evaluate a run again, type "
            "`galaxy10 evaluate RUN`"
        )
    if trainer["check_val_every_n_epoch"] is None and isinstance(trainer["val_check_interval"], float):
        raise Galaxy10Error(
            "trainer.check_val_every_n_epoch=null counts batches over epochs; type a whole number of batches, e.g. "
            "trainer.val_check_interval=100"
        )


def _check_precision(config: dict[str, Any]) -> None:
    trainer = config["trainer"]
    if (
        trainer["precision"] in ("16-mixed", "16", 16)
        and config["optimizer"].get("fused")
        and trainer["gradient_clip_val"]
    ):
        raise Galaxy10Error(
            f"trainer.precision={trainer['precision']} cannot clip gradients with optimizer.fused=true; "
            "type optimizer.fused=false, or trainer.precision=bf16-mixed"
        )


def _check_compile(config: dict[str, Any], here: bool) -> None:
    if not config["trainer"]["compile"]:
        return
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if here and not any(map(shutil.which, compilers)):
        raise Galaxy10Error("trainer.compile=true needs a C++ compiler (g++ or clang++); type trainer.compile=false")


def _check_device_cache(config: dict[str, Any], here: bool) -> None:
    accelerator = config["trainer"]["accelerator"]
    if config["data"]["cache_on_device"] is True and (
        accelerator == "cpu" or (here and accelerator == "auto" and not has_accelerator())
    ):
        raise Galaxy10Error(
            "data.cache_on_device=true keeps the training images in a GPU's memory, but this run trains on the CPU; "
            "type data.cache_on_device=auto"
        )


def _check_batches(config: dict[str, Any], here: bool) -> None:
    trainer, batch = config["trainer"], config["data"]["batch_size"]
    all_of_them = visible_gpus() if here and trainer["accelerator"] in ("auto", "gpu", "cuda") else 1
    devices = (number_of_devices(trainer["devices"]) or max(1, all_of_them)) * trainer["num_nodes"]
    if batch % devices:
        below, above = batch - batch % devices, batch + devices - batch % devices
        sizes = f"{below} or {above}" if below else str(above)
        raise Galaxy10Error(
            f"data.batch_size={batch} is not divisible by {devices} devices (it is the number of images of one step "
            f"over all devices); type data.batch_size={sizes}"
        )


def _check_image_size(model: dict[str, Any]) -> None:
    """Check the input size of a network that is exact only at multiples of a size (and one more)."""
    size, multiple = model["image_size"], model["image_size_multiple"]
    if size != "auto" and multiple > 1 and size % multiple > 1:
        larger = size + multiple - size % multiple
        raise Galaxy10Error(
            f"model={model['name']} takes images of a multiple of {multiple} px (or one more), not {size}; type "
            f"model.image_size={larger}"
        )


def _check_backbone(model: dict[str, Any]) -> None:
    backbone = model["backbone"]
    if backbone is None:
        if model["pretrained"]:
            raise Galaxy10Error(f"model={model['name']} has no pretrained weights; type model.pretrained=false")
        if model["weights"] is not None:
            raise Galaxy10Error(f"model={model['name']} has no pretrained weights; leave out model.weights")
        return
    from galaxy10.models.timm_registry import names_weights, timm_names

    if names_weights(model) and not model["pretrained"]:
        raise Galaxy10Error("model.weights is not used with model.pretrained=false; leave out one of them")
    if ":" in backbone:
        raise Galaxy10Error(
            f"model.backbone={backbone} is an address; type model.backbone=<the network's name in timm> and "
            "model.weights=hf_hub:OWNER/NAME"
        )
    known = timm_names()
    architecture = backbone.split(".")[0]
    if architecture not in known:
        raise Galaxy10Error(f"timm has no network {architecture}{did_you_mean(architecture, known)} (model.backbone)")


def _check_unused_groups(config: dict[str, Any]) -> None:
    """Refuse choices of groups that the model does not use."""
    name, unused = config["model"]["name"], config["model"]["unused_groups"]
    for group in unused:
        section = config.get(group) or {}
        if section.get("_target_") or section.get("name", "none") != "none":
            raise Galaxy10Error(f"model={name} does not use {group}; type {group}=none")
    groups = config["param_groups"].get("_target_")
    network = str((config["model"].get("network") or {}).get("_target_", "galaxy10."))
    if (
        groups == "galaxy10.models.param_groups.layer_decay"
        and config["model"]["backbone"] is None
        and network.startswith("galaxy10.")
    ):
        raise Galaxy10Error(
            f"param_groups=layer_decay needs the layers of a network of timm, and model={name} is none; type "
            "param_groups=no_decay_on_norms"
        )
    if not config["optimizer"].get("_target_") and "optimizer" not in unused:
        raise Galaxy10Error(f"model={name} needs an optimizer; type optimizer=adamw")


def _check_targets(config: dict[str, Any]) -> None:
    """Check the arguments of a user's classes, and of ours with added keys, against the signatures."""
    for where, node in iter_targets(config):
        section = where.partition(".")[0]
        keys = set(node) - set(HYDRA_KEYS)
        if where == "model":
            _check_is_classifier(node["_target_"])
            node, keys = class_arguments(node), keys - set(INPUT_SETTINGS)
        elif where in _CALLED_WITH and where != "loss":
            node = {**node, "_partial_": True}
        elif where == "loss" and not node.get("_partial_"):
            _check_makes_a_loss(node)
        elif section == "metrics" and where.count(".") == 1:
            node = {key: value for key, value in node.items() if key not in _METRIC_OPTIONS}
        target = node["_target_"]
        if target.startswith("galaxy10.") and all(find_field(f"{where}.{key}", FIELDS) for key in keys):
            continue
        if keys == _SHIPPED.get(target):
            continue
        if section == "data" or (section == "augment" and target.startswith("galaxy10.")):  # see check_data
            continue
        check_signature(where, node, SUPPLIED, _CALLED_WITH.get(where))


def _check_is_classifier(target: str) -> None:
    if target.startswith("galaxy10."):
        return
    found = resolve(target, "model._target_")
    if "galaxy10.models.classifier.Classifier" not in (f"{c.__module__}.{c.__qualname__}" for c in _bases(found)):
        raise Galaxy10Error(not_a_classifier_message(target))


def _bases(found: Any) -> tuple[type, ...]:
    return found.__mro__ if isinstance(found, type) else ()


def _check_makes_a_loss(node: dict[str, Any]) -> None:
    """Refuse a function of (logits, labels) without `_partial_`: it is the loss itself and does not build one."""
    if node["_target_"].startswith("galaxy10."):  # torch need not be imported for our own
        return
    found = resolve(node["_target_"], "loss._target_")
    known = {} if isinstance(found, type) else parameters_of(found) or {}
    needed = [name for name, parameter in known.items() if parameter.default is parameter.empty and name not in node]
    if len([name for name in needed if name not in SUPPLIED]) == _CALLED_WITH["loss"]:
        raise Galaxy10Error(
            f"{node['_target_']} is itself the loss of {' and '.join(needed)}; add +loss._partial_=true"
        )


def runs_user_code(config: dict[str, Any]) -> bool:
    """Return whether an experiment builds objects that are neither galaxy10's nor torch's, which may log metrics."""
    return any(not node["_target_"].startswith(("galaxy10.", "torch.")) for _, node in iter_targets(config))


def _check_monitors(config: dict[str, Any], source: SourceFile | None) -> None:
    """Check that the monitored metrics are measured; code of a user may log further ones."""
    directions = metric_directions(config["metrics"])
    per_class = [f"f1_{slug}" for slug in slugs(source.names)] if source else []
    known = [
        "train/loss",
        "train/accuracy",
        *(f"val/{name}" for name in (*DEFAULT_METRIC_NAMES, *VOTE_METRIC_NAMES, *per_class, *directions)),
    ]
    others_log = runs_user_code(config)
    stopping = config["callbacks"].get("early_stopping") or {}
    monitors = {"monitor": config["monitor"], "callbacks.early_stopping.monitor": stopping.get("monitor")}
    for key, monitor in monitors.items():
        if monitor is None or monitor in known or (others_log and "/" in monitor):
            continue
        if source or not monitor.startswith("val/f1_"):
            raise Galaxy10Error(f"there is no metric {monitor}{did_you_mean(monitor, known)} ({key})")
    if config["monitor"].startswith("train/"):
        raise Galaxy10Error(
            f"monitor={config['monitor']} would choose the epoch that fits its training images best; type e.g. "
            "monitor=val/loss"
        )
    monitor = stopping.get("monitor")
    if monitor is None:
        return
    if monitor.startswith("val/") and config["trainer"]["limit_val_batches"] == 0:
        raise Galaxy10Error(
            f"trainer.limit_val_batches=0 measures no {monitor}, which callbacks=early_stopping waits for; "
            "type callbacks.early_stopping.monitor=train/loss"
        )
    if stopping.get("mode") not in (None, metric_mode(monitor, directions)):
        raise Galaxy10Error(
            f"callbacks.early_stopping.mode={stopping['mode']} would wait for {monitor} to get worse; "
            f"leave it out, or type {metric_mode(monitor, directions)}"
        )
