"""A callback that stops a training at a moment of the test's choice, so that no test has to guess when it comes."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L

MOMENT = "HOLD_AT"
WORDS = ("+callbacks.hold._target_=tests.hold.Hold",)


def hold_at(moment: str) -> dict[str, str]:
    """The environment of a command that stops at a moment: `batch 1 3` (epoch, batch), `validation 1`, `saving 2`,
    `scoring`. It then writes a file `held` into its folder, and goes on when there is a file `go`.
    """
    return {MOMENT: moment}


class Hold(L.Callback):
    """Waits at the moment that the environment names; without one it never does."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._hold(f"batch {trainer.current_epoch} {batch_idx}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._hold(f"validation {trainer.current_epoch}" if trainer.state.fn == "fit" else "scoring")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._hold(f"saving {trainer.current_epoch}")

    @staticmethod
    def _hold(moment: str) -> None:
        if os.environ.get(MOMENT) != moment:
            return
        del os.environ[MOMENT]
        Path("held").touch()
        while not Path("go").exists():
            time.sleep(0.01)
