"""Callbacks of a run: those that every run has, and early stopping."""

from galaxy10.training.callbacks.early_stopping import EarlyStopping, RestoreEarlyStopping
from galaxy10.training.callbacks.epoch_totals import EpochTotals
from galaxy10.training.callbacks.finite_loss import FiniteLoss
from galaxy10.training.callbacks.seeding import StepSeed

__all__ = ["EarlyStopping", "EpochTotals", "FiniteLoss", "RestoreEarlyStopping", "StepSeed"]
