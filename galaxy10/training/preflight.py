"""Everything that can be wrong with an experiment, found before torch is imported or a pixel read."""

import os
import shutil
from typing import Any

from galaxy10.classes import slugs
from galaxy10.config.fields import SOLVED_AT_ONCE, did_you_mean
from galaxy10.config.groups import trainer_keys
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.source import check_source
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.direction import better
from galaxy10.runs.devices import check_devices, has_accelerator, number_of_devices, visible_gpus
from galaxy10.runs.slurm import check_job
from galaxy10.training.loggers import check_logger

_MONITORS = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error")


def check_experiment(config: dict[str, Any], here: bool = True) -> None:
    """Check one experiment's configuration against itself, this machine, its file and its weights.

    here: whether it is to run on this machine, and in this job; otherwise what this machine has says nothing.

    Raises:
        Galaxy10Error: the first thing that will not work, in one line that says which key to change.
    """
    _check_trainer(config["trainer"])
    _check_file_settings(config["data"])
    _check_folds(config["data"])
    if here:
        check_devices(config["trainer"])
        check_job(config["trainer"])
    check_logger(config["logger"])
    _check_batches(config, here)
    _check_precision(config)
    _check_compile(config, here)
    _check_device_cache(config, here)
    _check_backbone(config["model"])
    _check_solved_at_once(config)
    source = check_source(config["data"])
    _check_monitor(config, source)
    if config["model"]["pretrained"]:
        from galaxy10.models.weights import check_weights_reachable

        check_weights_reachable(config["model"]["backbone"], config["model"]["weights"])


def _check_trainer(trainer: dict[str, Any]) -> None:
    """What was added with a plus is an argument of Lightning's Trainer, and one that a run leaves to its settings."""
    known = trainer_keys()
    unknown = sorted(set(trainer) - known)
    if unknown:
        raise Galaxy10Error(f"Lightning's Trainer has no trainer.{unknown[0]}{did_you_mean(unknown[0], sorted(known))}")


def _check_file_settings(data: dict[str, Any]) -> None:
    """What the kind of data needs is there, and what it would pass over is refused."""
    name = data["name"]
    if name == "hdf5" and data["path"] is None:
        raise Galaxy10Error("data=hdf5 needs a file: add data.path=FILE.h5")
    if name == "simulated" and data["path"] is not None:
        raise Galaxy10Error("data=simulated makes its own file; for a file of yours type data=hdf5 data.path=FILE.h5")
    if name == "galaxy10" and data["variant"] is None:
        raise Galaxy10Error("data=galaxy10 comes in two variants; type data.variant=full or data.variant=no_duplicates")
    if name != "galaxy10" and data["variant"] is not None:
        raise Galaxy10Error(f"data.variant belongs to data=galaxy10; leave it out with data={name}")


def _check_folds(data: dict[str, Any]) -> None:
    folds, fold = data["num_folds"], data["fold"]
    if (folds is None) != (fold is None):
        raise Galaxy10Error("data.num_folds and data.fold go together: data.num_folds=5 data.fold=0")
    if folds is not None and fold >= folds:
        raise Galaxy10Error(f"data.fold={fold}, but with data.num_folds={folds} folds count from 0 to {folds - 1}")


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
    if config["model"]["name"] in SOLVED_AT_ONCE:
        raise Galaxy10Error(f"model={config['model']['name']} has no network to compile; type trainer.compile=false")
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if here and not any(map(shutil.which, compilers)):
        raise Galaxy10Error("trainer.compile=true needs a C++ compiler (g++ or clang++); type trainer.compile=false")


def _check_device_cache(config: dict[str, Any], here: bool) -> None:
    accelerator = config["trainer"]["accelerator"]
    if config["data"]["cache_on_device"] is True and (
        accelerator == "cpu" or (here and accelerator == "auto" and not has_accelerator())
    ):
        raise Galaxy10Error(
            "data.cache_on_device=true keeps the training galaxies in a GPU's memory, but this run trains on the CPU; "
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
            f"data.batch_size={batch} does not divide among {devices} devices (it counts the galaxies of one step "
            f"over all of them); type data.batch_size={sizes}"
        )


def _check_backbone(model: dict[str, Any]) -> None:
    backbone = model["backbone"]
    if backbone is None:
        if model["pretrained"]:
            raise Galaxy10Error(f"model={model['name']} has no pretrained weights; type model.pretrained=false")
        if model["weights"] is not None:
            raise Galaxy10Error(f"model={model['name']} begins from random weights; leave out model.weights")
        return
    if model["weights"] is not None and not model["pretrained"]:
        raise Galaxy10Error("model.weights is not used with model.pretrained=false; leave out one of them")
    from galaxy10.models.timm_registry import timm_names

    known = timm_names()
    architecture = backbone.split(".")[0]
    if architecture not in known:
        raise Galaxy10Error(f"timm has no network {architecture}{did_you_mean(architecture, known)} (model.backbone)")


def _check_solved_at_once(config: dict[str, Any]) -> None:
    """What a model without epochs cannot do is refused, not passed over."""
    name = config["model"]["name"]
    if name not in SOLVED_AT_ONCE:
        if config["optimizer"]["_target_"] is None:
            raise Galaxy10Error(f"optimizer=none, but model={name} is trained step by step; type optimizer=adamw")
        return
    for group, unused in (("augment", config["augment"]["name"] != "none"), *_given(config, "optimizer", "scheduler")):
        if unused:
            raise Galaxy10Error(f"model={name} is solved at once and has no use for {group}; type {group}=none")
    if (number_of_devices(config["trainer"]["devices"]) or 1) * config["trainer"]["num_nodes"] > 1:
        raise Galaxy10Error(f"model={name} is solved by one process; type trainer.devices=1 trainer.num_nodes=1")


def _given(config: dict[str, Any], *groups: str) -> list[tuple[str, bool]]:
    return [(group, config[group]["_target_"] is not None) for group in groups]


def _check_monitor(config: dict[str, Any], source: SourceFile | None) -> None:
    stopping = config["callbacks"].get("early_stopping")
    if not stopping:
        return
    monitor = stopping["monitor"]
    names = source.names if source else ()
    known = ["train/loss", "train/accuracy"] + [f"val/{m}" for m in (*_MONITORS, *(f"f1_{s}" for s in slugs(names)))]
    if monitor not in known and (source or not monitor.startswith("val/f1_")):
        raise Galaxy10Error(f"there is no metric {monitor}{did_you_mean(monitor, known)} (callbacks.early_stopping)")
    if monitor.startswith("val/") and config["trainer"]["limit_val_batches"] == 0:
        raise Galaxy10Error(
            f"trainer.limit_val_batches=0 measures no {monitor}, which callbacks=early_stopping waits for; "
            "type callbacks.early_stopping.monitor=train/loss"
        )
    if stopping["mode"] not in (None, better(monitor)):
        raise Galaxy10Error(
            f"callbacks.early_stopping.mode={stopping['mode']} would wait for {monitor} to get worse; "
            f"leave it out, or type {better(monitor)}"
        )
