"""Build Lightning's Trainer for one experiment."""

from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from galaxy10.compat import leave_signals_alone
from galaxy10.data.settings import uses_galaxy_data
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import metric_mode
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.signals import SignalHandler
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
from galaxy10.training.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from galaxy10.training.components import build_callbacks
from galaxy10.training.distributed import cluster_environment
from galaxy10.training.loggers import build_loggers
from galaxy10.training.loggers.epoch_tables import LogEpochTables
from galaxy10.training.metrics_csv import MetricsCSV
from galaxy10.training.sync_batchnorm import SyncedBatchNorm

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}


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
    callbacks += build_callbacks(config, context)
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


def install_signal_callback(trainer: L.Trainer, signal_handler: SignalHandler, directory: RunDirectory) -> None:
    """Add StopOnSignal to the trainer, and disable Lightning's signal handler, which ends with exit code 0."""
    leave_signals_alone(trainer)
    stop = StopOnSignal(signal_handler, directory.last_checkpoint, directory.lock_lost)
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # After the other callbacks, whose state it saves; Lightning keeps checkpoint callbacks last.
    callbacks.insert(sum(not isinstance(callback, Checkpoint) for callback in callbacks), stop)


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
