"""Stop training after a signal, at a step from which it can be resumed exactly."""

import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L

from galaxy10.runs.signals import Interrupted, SignalHandler

CHECK_EVERY_STEPS = 8  # on several GPUs, where the processes' agreement waits for the step


class StopOnSignal(L.Callback):
    """Save last.ckpt and stop after the current optimizer step, once a signal was received.

    A signal during validation takes effect at the end of the epoch, which is saved anyway. All processes of a run
    check at the same batch and stop together, whichever of them received the signal.

    Args:
        signal_handler: the installed handler.
        last_checkpoint: path of the checkpoint to write.
        lost: set when another process owns the run directory; then training stops without writing.
    """

    def __init__(self, signal_handler: SignalHandler, last_checkpoint: Path, lost: threading.Event):
        self._signal_handler, self._last_checkpoint, self._lost = signal_handler, last_checkpoint, lost

    @property
    def signal_number(self) -> int | None:
        """Return the signal that was received, for modules with long work before the first batch; None: none."""
        return self._signal_handler.number

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and stop between two optimizer steps.

        Raises:
            Interrupted: a signal was received, or the run directory was lost.
        """
        self._signal_handler.progressed = True
        batches = CHECK_EVERY_STEPS * trainer.accumulate_grad_batches  # a multiple, to be between two steps
        on_gpus = trainer.world_size > 1 and trainer.strategy.root_device.type == "cuda"
        if on_gpus and (batch_idx + 1) % batches:
            return
        stops = self._lost.is_set() or self._signal_handler.number is not None
        if not _any_process(trainer, stops):
            return
        if _any_process(trainer, self._lost.is_set()):
            raise Interrupted(signal.SIGTERM)
        batches_done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if trainer.is_last_batch or batches_done % trainer.accumulate_grad_batches:
            return
        if batches_done and not trainer.fast_dev_run:
            trainer.save_checkpoint(self._last_checkpoint)
        raise Interrupted(self._signal_handler.number or signal.SIGTERM)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Stop if a signal was received; the last epoch is saved.

        Raises:
            Interrupted: a signal was received.
        """
        if _any_process(trainer, self._signal_handler.number is not None):
            raise Interrupted(self._signal_handler.number or signal.SIGTERM)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Share a signal of the last epoch with all processes, which raise Interrupted after Lightning's loop."""
        if _any_process(trainer, self._signal_handler.number is not None):
            self._signal_handler.number = self._signal_handler.number or signal.SIGTERM


def _any_process(trainer: Any, here: bool) -> bool:
    return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here
