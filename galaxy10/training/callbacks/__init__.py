"""Callbacks: those of every run, and those to choose: early stopping, averaged weights, mixed images."""

from galaxy10.training.callbacks.describe_checkpoint import DescribeCheckpoint
from galaxy10.training.callbacks.early_stopping import EarlyStopping, RestoreEarlyStopping
from galaxy10.training.callbacks.ema import EMA
from galaxy10.training.callbacks.epoch_totals import EpochTotals
from galaxy10.training.callbacks.finite_loss import FiniteLoss
from galaxy10.training.callbacks.input_quality import InputQuality
from galaxy10.training.callbacks.mixing import CutMix, MixUp
from galaxy10.training.callbacks.plateau import RestorePlateau
from galaxy10.training.callbacks.progress import TrainingProgress
from galaxy10.training.callbacks.seeding import StepSeed
from galaxy10.training.callbacks.stop_on_signal import StopOnSignal

__all__ = [
    "EMA",
    "CutMix",
    "DescribeCheckpoint",
    "EarlyStopping",
    "EpochTotals",
    "FiniteLoss",
    "InputQuality",
    "MixUp",
    "RestoreEarlyStopping",
    "RestorePlateau",
    "StepSeed",
    "StopOnSignal",
    "TrainingProgress",
]
