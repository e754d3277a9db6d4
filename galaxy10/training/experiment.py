"""Run one experiment, from its configuration to a finished run directory."""

import logging
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from galaxy10.config.trust import trust_configuration
from galaxy10.console import quiet_libraries
from galaxy10.data.build import build_datamodule, setup_datamodule
from galaxy10.data.custom_datamodule import describe_datamodule, store_of
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.epoch_seeding import seed_epochs
from galaxy10.data.known_galaxies import known_galaxies_table
from galaxy10.data.record import data_record
from galaxy10.data.resampling import samples_per_class
from galaxy10.data.votes import seen_per_class
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.default_metrics import default_metrics
from galaxy10.evaluation.samples import save_batch, save_demonstrations
from galaxy10.evaluation.tables import evaluate_subsets, write_split
from galaxy10.metrics.specs import metric_directions
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
from galaxy10.system import keep_freed_memory, return_freed_memory
from galaxy10.training.callbacks.ema import saved_weights
from galaxy10.training.components import build_components
from galaxy10.training.distributed import set_threads_from_slurm, watch_children
from galaxy10.training.inherited import check_same_start, overlap_note, with_known_galaxies_of
from galaxy10.training.metrics_csv import MetricsCSV
from galaxy10.training.provenance import provenance
from galaxy10.training.rendezvous import end_process, limited_rendezvous
from galaxy10.training.run_messages import log_run_start, log_unvalidated_steps, summary
from galaxy10.training.trainer import build_trainer, check_batches_of_epoch, install_signal_callback
from galaxy10.training.votes import check_votes_for

logger = logging.getLogger(__name__)


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
    return_freed_memory()
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


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that still use the global one
    torch.manual_seed(seed)
