"""Run one experiment, from its configuration to a finished run directory."""

import logging
import os
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler
from torchmetrics import Metric

from galaxy10.compat import leave_signals_alone
from galaxy10.config.building import build
from galaxy10.config.trust import trust_configuration
from galaxy10.console import quiet_libraries
from galaxy10.data.build import build_datamodule, setup_datamodule
from galaxy10.data.custom_datamodule import describe_datamodule, store_of
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.epoch_seeding import seed_epochs
from galaxy10.data.known_galaxies import known_galaxies_table
from galaxy10.data.record import data_record
from galaxy10.data.resampling import samples_per_class
from galaxy10.data.settings import uses_galaxy_data
from galaxy10.data.votes import seen_per_class
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.default_metrics import default_metrics
from galaxy10.evaluation.samples import save_batch, save_demonstrations
from galaxy10.evaluation.tables import evaluate_subsets, write_split
from galaxy10.metrics.specs import metric_directions, metric_mode
from galaxy10.models.class_fractions import check_takes_votes
from galaxy10.models.factory import build_classifier, load_checkpoint
from galaxy10.models.losses import class_factor
from galaxy10.models.precision import resolve_precision
from galaxy10.models.solved_once import SolvedOnce
from galaxy10.prediction.calibrate import calibrate_finished_run
from galaxy10.reports.run import build_report
from galaxy10.runs.directory import RUN_DIR_VARIABLE, RunDirectory, is_main_process
from galaxy10.runs.launcher import PARENT_VARIABLE, launch
from galaxy10.runs.signals import SignalHandler
from galaxy10.system import keep_freed_memory
from galaxy10.training.callbacks import (
    DescribeCheckpoint,
    EpochTotals,
    FiniteLoss,
    InputQuality,
    RestoreEarlyStopping,
    RestorePlateau,
    StepSeed,
    StopOnSignal,
    TrainingProgress,
)
from galaxy10.training.callbacks.ema import saved_weights
from galaxy10.training.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from galaxy10.training.distributed import cluster_environment, set_threads_from_slurm, watch_children
from galaxy10.training.inherited import check_same_start, overlap_note, with_known_galaxies_of
from galaxy10.training.loggers import build_loggers
from galaxy10.training.loggers.epoch_tables import LogEpochTables
from galaxy10.training.metrics_csv import MetricsCSV
from galaxy10.training.provenance import provenance
from galaxy10.training.rendezvous import end_process, limited_rendezvous
from galaxy10.training.sync_batchnorm import SyncedBatchNorm
from galaxy10.training.votes import check_votes_for

logger = logging.getLogger(__name__)

METRIC_OPTIONS = ("direction", "label")  # keys of a metric in YAML that are no arguments of its class
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}


def run_experiment(config: dict[str, Any], directory: RunDirectory, signal_handler: SignalHandler) -> dict[str, Any]:
    """Train, evaluate the best epoch, write the run directory, and return the result (`RunDirectory.result`).

    Ranks other than 0 return an empty dict.

    Args:
        config: the configuration, plain, resolved and checked.
        directory: the run directory, created and locked.
        signal_handler: the installed handler, which remembers signals during training.

    Raises:
        Galaxy10Error: an error that only shows once the data and the network are loaded.
    """
    quiet_libraries()
    os.environ[RUN_DIR_VARIABLE] = str(directory.path.resolve())
    if launch().launcher != "lightning":
        os.environ[PARENT_VARIABLE] = str(os.getpid())
    trust_configuration(config)
    seed_everything(config["seed"])
    set_threads_from_slurm()

    # Data
    data = build_datamodule(config["data"], config["augment"], config["seed"])
    setup_datamodule(data, directory.path / ".data.lock")
    facts = describe_datamodule(data)
    if not isinstance(data, GalaxyData):
        seed_epochs(data, config["seed"])

    votes = None
    if isinstance(data, GalaxyData):
        check_batches_of_epoch(config["trainer"], len(data.train_dataloader()))
        votes = data.votes("train")
        check_votes_for(config, votes)

    # Network
    context = {
        "num_classes": facts.num_classes,
        "class_names": list(facts.class_names),
        "class_counts": facts.class_counts.tolist(),
        "directions": metric_directions(config["metrics"]),
    }
    statistics = data.training_statistics() if isinstance(data, GalaxyData) else None
    module, weights = build_classifier(
        config["model"], facts.class_names, facts.image_size, statistics, **build_components(config, context)
    )
    if isinstance(data, GalaxyData):
        if data.training_votes is not None and not isinstance(module, SolvedOnce):
            check_takes_votes(module.criterion, facts.num_classes)
        data.preprocessing = module.preprocessing
    elif module.preprocessing is None:
        module.preprocessing = getattr(data, "preprocessing", None)
    if config["trainer"]["compile"]:
        module.compile_network()

    # Trainer
    metrics_csv = MetricsCSV(directory, config["monitor"], context["directions"])
    assert module.model_config is not None
    precision = resolve_precision(config, directory, module.model_config["image_size"])
    in_line = () if votes is None else ("vote_brier", "vote_kl")
    trainer = build_trainer(config, directory, metrics_csv, precision.name, context, in_line)
    if not module.automatic_optimization:
        trainer.gradient_clip_val = None  # Lightning refuses clipping with manual optimization
    install_signal_callback(trainer, signal_handler, directory)
    watch_children(directory, signal_handler)
    if is_main_process():
        check_same_data(directory, facts.hash)
        check_same_start(directory.files, module.init_record)
        about = provenance(config, data_record(data, facts), module, weights)
        about["training"] = {"precision": precision.name, "precision_reason": precision.reason}
        about["training"] |= saved_weights(trainer.callbacks)  # type: ignore[attr-defined]
        natural = shown = facts.class_counts
        if isinstance(data, GalaxyData):
            about["training"]["cache_on_device"] = data.uses_device_cache(trainer.strategy.root_device)
            shown = samples_per_class(data.labels("train"), data.balance, facts.num_classes)
            save_batch(data, directory.files.samples("batch"))
            save_demonstrations(data, directory.files)
        seen = _seen_per_class(data, module)
        about["training"]["class_counts"] = {
            "natural": seen(natural).tolist(),
            "trained": (seen(shown) * class_factor(module.criterion, facts.num_classes)).tolist(),
        }
        start = config["model"]["init_from"]
        if (store := store_of(data)) is not None:
            known = known_galaxies_table(store.table, facts.table)
            if start is not None:
                known = with_known_galaxies_of(Path(start), known)
                note = overlap_note(Path(start), store.table, facts.table)
                about["split"]["notes"] = [*about["split"]["notes"], *([note] if note else [])]
            directory.files.write_known_galaxies(known)
        directory.files.write_provenance(about)
        write_split(directory.path, facts.table, facts.class_names, shown)
        log_run_start(about, trainer, directory)

    # Train, then evaluate the best epoch
    keep_freed_memory()
    resume = directory.last_checkpoint if directory.last_checkpoint.exists() else None
    signal_handler.deferring = True
    with limited_rendezvous(trainer.world_size, partial(end_process, directory)):
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    signal_handler.deferring = False
    signal_handler.raise_if_signalled()
    if trainer.is_global_zero:
        log_unvalidated_steps(trainer, metrics_csv)
    if directory.best_checkpoint.exists():
        module.load_state_dict(load_checkpoint(directory.best_checkpoint)["state_dict"])
    metrics = evaluate_subsets(
        trainer, module, data, ["val", "test"] if config["run"]["test"] else ["val"], directory.path
    )

    # Report
    if not trainer.is_global_zero:
        return {}
    calibration = calibrate_finished_run(directory.path, store_of(data), trainer.strategy.root_device)
    if "test/accuracy" in metrics:
        predictions = directory.files.read_predictions("test")
        metrics = default_metrics(calibration, predictions, facts.class_names, "test") | metrics
    directory.end("finished", metrics={**metrics_csv.logged_at_best(), **metrics, **metrics_csv.totals()})
    report = build_report(directory.path) if config["run"]["report"] else None
    for table in sorted(directory.files.profiler.glob("*.txt")):
        logger.info(f"profile {table}")
    logger.info(summary(metrics, report))
    return directory.result(facts.hash)


def _seen_per_class(data: L.LightningDataModule, module: L.LightningModule) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of the images of each class (C,): what the loss sees of each class, by votes or by labels."""
    votes = data.training_votes if isinstance(data, GalaxyData) else None
    if votes is None or not isinstance(data, GalaxyData) or isinstance(module, SolvedOnce):
        return lambda images: images
    return partial(seen_per_class, labels=data.labels("train"), votes=votes)


def check_same_data(directory: RunDirectory, split_hash: str) -> None:
    """Check that a resumed run has the same split as before, in case the file has changed under the same name.

    Raises:
        Galaxy10Error: the split has another hash.
    """
    before = directory.files.split_hash()
    if directory.last_checkpoint.exists() and before not in (None, split_hash):
        raise Galaxy10Error(
            f"{directory.path} was trained on another split ({before}; the file now gives {split_hash}); "
            "restore the file, or give another run.dir"
        )


def check_batches_of_epoch(trainer: dict[str, Any], batches: int) -> None:
    """Check the settings that count the batches of an epoch.

    Raises:
        Galaxy10Error: no batch would be trained on, or validation would never come.
    """
    limit, interval = trainer["limit_train_batches"], trainer["val_check_interval"]
    used = batches
    if isinstance(limit, int):
        used = min(batches, limit)
    elif limit is not None:
        used = int(batches * limit)
    if used == 0:
        raise Galaxy10Error(
            f"trainer.limit_train_batches={limit} of {batches} batches is less than one; type "
            "trainer.limit_train_batches=1 for one batch"
        )
    debugging = trainer["fast_dev_run"] or trainer["overfit_batches"]  # Lightning sets both numbers itself
    by_epoch = trainer["check_val_every_n_epoch"] is not None
    if isinstance(interval, int) and interval > used and by_epoch and not debugging:
        raise Galaxy10Error(
            f"trainer.val_check_interval={interval}, but an epoch has {used} batches; type "
            f"trainer.val_check_interval={used}, or add trainer.check_val_every_n_epoch=null to count over epochs"
        )


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that still use the global one
    torch.manual_seed(seed)


def install_signal_callback(trainer: L.Trainer, signal_handler: SignalHandler, directory: RunDirectory) -> None:
    """Add StopOnSignal to the trainer, and disable Lightning's signal handler, which ends with exit code 0."""
    leave_signals_alone(trainer)
    stop = StopOnSignal(signal_handler, directory.last_checkpoint, directory.lock_lost)
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # After the other callbacks, whose state it saves; Lightning keeps checkpoint callbacks last.
    callbacks.insert(sum(not isinstance(callback, Checkpoint) for callback in callbacks), stop)


def build_components(config: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Build the loss, optimizer, scheduler, parameter groups and metrics of a LightningModule.

    Raises:
        Galaxy10Error: a class cannot be built, or a metric is no torchmetrics Metric.
    """
    built = {
        name: build({**config[name], "_partial_": True} if name != "loss" else config[name], context, name)
        for name in ("loss", "param_groups", "optimizer", "scheduler")
        if config[name].get("_target_")
    }
    own = {name: {k: v for k, v in node.items() if k not in METRIC_OPTIONS} for name, node in config["metrics"].items()}
    built["metrics"] = {name: build(node, context, f"metrics.{name}") for name, node in own.items()}
    _check_kinds("metrics", built["metrics"], Metric)
    built |= {"scheduler_interval": config["trainer"]["scheduler_interval"], "monitor": config["monitor"]}
    return {**built, "monitor_mode": metric_mode(config["monitor"], context["directions"])}


def _check_kinds(section: str, built: Mapping[str, Any], kind: type) -> None:
    for name, instance in built.items():
        if not isinstance(instance, kind):
            expected = f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
            raise Galaxy10Error(f"{section}.{name}._target_ makes a {type(instance).__name__}, which is no {expected}")


def build_trainer(
    config: dict[str, Any],
    directory: RunDirectory,
    metrics_csv: MetricsCSV,
    precision: str,
    context: dict[str, Any],
    shown: Sequence[str] = (),
) -> L.Trainer:
    """Build Lightning's Trainer with the callbacks of every run and those of the configuration.

    shown: validation metrics in the line of an epoch, in addition to those of every run.
    """
    options = {**config["trainer"], "precision": precision}
    options["use_distributed_sampler"] = not uses_galaxy_data(config["data"])  # ours shards by itself
    options.pop("compile")  # the network is compiled already, in place
    options.pop("scheduler_interval")
    bar = options.pop("enable_progress_bar")
    callbacks: list[L.Callback] = [
        StepSeed(config["seed"]),
        FiniteLoss(),
        InputQuality(),
        EpochTotals(),
        DescribeCheckpoint(),
    ]
    own = {name: build(node, context, f"callbacks.{name}") for name, node in config["callbacks"].items() if node}
    _check_kinds("callbacks", own, L.Callback)
    callbacks += own.values()
    own_bar = any(isinstance(callback, L.pytorch.callbacks.ProgressBar) for callback in callbacks)
    in_line = [config["monitor"], *(f"val/{name}" for name in (*shown, *config["metrics"]))]
    restored = [RestoreEarlyStopping(), RestorePlateau()]
    callbacks += [TrainingProgress(False if own_bar else bar, in_line), *restored, metrics_csv]
    callbacks.append(LogEpochTables())
    if options.pop("enable_checkpointing") is not False:
        mode = metric_mode(config["monitor"], context["directions"])
        callbacks += checkpoint_callbacks(directory.files.checkpoints, config["monitor"], mode)
    plugins = [*(options.pop("plugins") or []), AtomicCheckpointIO(directory.check_still_held)]
    if options.pop("sync_batchnorm"):
        plugins.append(SyncedBatchNorm())
    plugins.append(cluster_environment())
    if options["model_registry"] is None:
        options.pop("model_registry")
    profiler = PROFILERS.get(options["profiler"])
    if profiler is not None:  # Lightning would log its tables, and its log is silenced
        options["profiler"] = profiler(dirpath=directory.files.profiler, filename="table")
    return L.Trainer(
        **options,
        logger=build_loggers(config["logger"], directory.path),
        callbacks=callbacks,
        plugins=plugins,
        enable_progress_bar=own_bar,
        default_root_dir=directory.path,
    )


def log_unvalidated_steps(trainer: L.Trainer, metrics_csv: MetricsCSV) -> None:
    """Log how many steps came after the last validation, as when trainer.max_steps ends within an epoch."""
    late = trainer.global_step - metrics_csv.validated_step if metrics_csv.validated_step else 0
    if late:
        logger.info(f"note    the last {late} steps were not validated, so the best epoch does not include them")


def log_run_start(about: dict[str, Any], trainer: L.Trainer, directory: RunDirectory) -> None:
    """Log the data, split, model and device of a run that starts."""
    model, split, data = about["model"], about["split"], about["data"]
    counts = split["counts"]
    logger.info(f"run     {directory.path}")
    logger.info(f"data    {data['path']}: {data['num_images']} images, {len(data['class_names'])} classes")
    logger.info(f"split   {split['hash']}: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n))
    for note in split["notes"]:
        logger.info(f"        {note}")
    frozen = model["parameters"] - model["trainable_parameters"]
    logger.info(
        f"model   {model['name']}: {model['parameters'] / 1e6:.2f} M parameters"
        + (f" ({frozen / 1e6:.2f} M frozen)" if frozen else "")
        + f" at {model['image_size']} px, {model['weights']}"
    )
    device = trainer.strategy.root_device.type
    logger.info(
        f"device  {device} × {trainer.world_size}, {trainer.precision} ({about['training']['precision_reason']})"
    )


def summary(metrics: dict[str, float | None], report: Path | None) -> str:
    """Return a line with accuracy and macro-F1, and a line with the report's path."""
    subset = "test" if "test/accuracy" in metrics else "val"
    if f"{subset}/accuracy" not in metrics:
        return "nothing was evaluated" + (f"\nreport  {report}" if report else "")
    return f"{subset} accuracy {metrics[f'{subset}/accuracy']:.3f}, macro-F1 {metrics[f'{subset}/macro_f1']:.3f}" + (
        f"\nreport  {report}" if report else ""
    )
