"""The end of training that a signal asks for, at a place from which it can go on as if nothing had happened."""

import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L

from galaxy10.runs.signals import Interrupted, SignalHandler

LOOK_EVERY_STEPS = 8  # on GPUs, where asking the other processes waits for the step


class StopOnSignal(L.Callback):
    """Stop after a batch once a signal has come, with everything in last.ckpt.

    It looks after every batch. What comes during validation waits for the end of the epoch, which saves anyway.
    All processes of a run look at the same batch, and stop together whichever of them was told.

    Args:
        signal_handler: where a signal shows.
        last_checkpoint: what to write.
        lost: set when another process owns the run directory. Then training stops without writing.
    """

    def __init__(self, signal_handler: SignalHandler, last_checkpoint: Path, lost: threading.Event):
        self._signal_handler, self._last_checkpoint, self._lost = signal_handler, last_checkpoint, lost

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and stop between two optimizer steps."""
        self._signal_handler.progressed = True
        batches = LOOK_EVERY_STEPS * trainer.accumulate_grad_batches  # so that it is between two steps
        on_gpus = trainer.world_size > 1 and trainer.strategy.root_device.type == "cuda"
        if on_gpus and (batch_idx + 1) % batches:
            return
        asked = self._lost.is_set() or self._signal_handler.number is not None
        if not _any_process(trainer, asked):
            return
        if _any_process(trainer, self._lost.is_set()):
            raise Interrupted(signal.SIGTERM)
        begun = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if trainer.is_last_batch or begun % trainer.accumulate_grad_batches:
            return
        if begun and not trainer.fast_dev_run:
            trainer.save_checkpoint(self._last_checkpoint)
        raise Interrupted(self._signal_handler.number or signal.SIGTERM)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The epoch before has been saved."""
        if _any_process(trainer, self._signal_handler.number is not None):
            raise Interrupted(self._signal_handler.number or signal.SIGTERM)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Let all processes know what came during the last epoch; they raise it outside of Lightning's loop."""
        if _any_process(trainer, self._signal_handler.number is not None):
            self._signal_handler.number = self._signal_handler.number or signal.SIGTERM


def _any_process(trainer: Any, here: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here
