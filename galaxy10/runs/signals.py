"""Signals: training is stopped at a place from which it can go on as if nothing had happened."""

import signal
import time
from pathlib import Path
from typing import Any

# SIGUSR1 is what slurm/job.sbatch has sent before a time limit; the job is then requeued.
TIME_LIMIT = signal.SIGUSR1
SIGNALS = (signal.SIGINT, signal.SIGTERM, TIME_LIMIT)
LOOK_EVERY_STEPS = 8  # on GPUs, where asking the other processes waits for the step
ONE_S = 3.0  # SLURM tells every process of a step, and a grid passes it on to its trial: that is one signal


class Interrupted(BaseException):
    """A signal asked this run to stop, or it lost its directory; not an error, so nothing that catches errors sees it.

    number: the signal's.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class SignalHandler:
    """Remembers a signal while training can be stopped safely only now and then; raises at once otherwise.

    A second signal is not waited for. progressed: whether any training step has been made since the start.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferring = False
        self.progressed = False
        self._came = 0.0

    def install(self) -> None:
        """Handle SIGINT, SIGTERM and SIGUSR1 from here on."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def ignore(self) -> None:
        """While a run is closed: what asked it to stop has been heard."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._came = number, now
            if self.deferring:
                return
        elif now - self._came < ONE_S:
            return
        raise Interrupted(number)

    def raise_if_signalled(self) -> None:
        """Stop here, if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)


def stop_callback(interruption: SignalHandler, last_checkpoint: Path, lost: Any) -> Any:
    """A Lightning callback that stops training after a batch, with everything in last.ckpt, once a signal has come.

    lost: an event; set when another process owns the run directory. Then training stops without writing.
    """
    import lightning as L

    class StopOnSignal(L.Callback):
        """Looks after every batch. What comes during validation waits for the end of the epoch, which saves anyway.

        All processes of a run look at the same batch, and stop together whichever of them was told.
        """

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            """Save and stop between two optimizer steps."""
            interruption.progressed = True
            batches = LOOK_EVERY_STEPS * trainer.accumulate_grad_batches  # so that it is between two steps
            on_gpus = trainer.world_size > 1 and trainer.strategy.root_device.type == "cuda"
            if on_gpus and (batch_idx + 1) % batches:
                return
            asked = lost.is_set() or interruption.number is not None
            if not self._any_process(trainer, asked):
                return
            if self._any_process(trainer, lost.is_set()):
                raise Interrupted(signal.SIGTERM)
            if trainer.is_last_batch or trainer.fit_loop._should_accumulate():
                return
            if trainer.fit_loop.epoch_loop.batch_progress.current.ready and not trainer.fast_dev_run:
                trainer.save_checkpoint(last_checkpoint)
            raise Interrupted(interruption.number or signal.SIGTERM)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            """The epoch before has been saved."""
            if self._any_process(trainer, interruption.number is not None):
                raise Interrupted(interruption.number or signal.SIGTERM)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """Let all processes know what came during the last epoch; they raise it outside of Lightning's loop."""
            if self._any_process(trainer, interruption.number is not None):
                interruption.number = interruption.number or signal.SIGTERM

        @staticmethod
        def _any_process(trainer: Any, here: bool) -> bool:
            return trainer.strategy.reduce_boolean_decision(here, all=False) if trainer.world_size > 1 else here

    return StopOnSignal()
