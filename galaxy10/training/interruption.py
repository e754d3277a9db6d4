"""Signals: training is stopped at a place from which it can go on as if nothing had happened."""

import signal
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked this run to stop, or it lost its directory; not an error, so nothing that catches errors sees it.

    number: the signal's.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """Remembers a signal while training can be stopped safely only now and then; raises at once otherwise.

    A second signal is not waited for.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferring = False

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from here on."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def ignore(self) -> None:
        """While a run is closed: what asked it to stop has been heard."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: Any) -> None:
        if self.deferring and self.number is None:
            self.number = number
            return
        raise Interrupted(number)

    def raise_if_asked(self) -> None:
        """Stop here, if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)


def stop_callback(interruption: Interruption, last_checkpoint: Path, lost: Any) -> Any:
    """A Lightning callback that stops training after a batch, with everything in last.ckpt, once a signal has come.

    lost: an event; set when another process owns the run directory. Then training stops without writing.
    """
    import lightning as L

    class StopOnSignal(L.Callback):
        """Looks after every batch. What comes during validation waits for the end of the epoch, which saves anyway."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            """Save and stop between two optimizer steps."""
            if lost.is_set():
                raise Interrupted(signal.SIGTERM)
            asked = interruption.number is not None
            if trainer.world_size > 1:
                asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
            if not asked or trainer.is_last_batch or trainer.fit_loop._should_accumulate():
                return
            if trainer.fit_loop.epoch_loop.batch_progress.current.ready and not trainer.fast_dev_run:
                trainer.save_checkpoint(last_checkpoint)
            raise Interrupted(interruption.number or signal.SIGTERM)

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            """The epoch before has been saved."""
            asked = interruption.number is not None
            if trainer.world_size > 1:
                asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
            if asked:
                raise Interrupted(interruption.number or signal.SIGTERM)

    return StopOnSignal()
