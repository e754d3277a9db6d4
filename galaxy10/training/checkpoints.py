"""Checkpoints: written beside their target and renamed, so that a kill leaves the old one or the new."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from galaxy10.config.trust import check_trusted
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.files import atomic_write
from galaxy10.models.factory import load_checkpoint

logger = logging.getLogger(__name__)

_PLAIN = (bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own goes through the temporary directory, which across file systems is a copy and not atomic.

    check: called when all is written, before it gets its name; raises if the directory has become another process's.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._check = check

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, sync, rename."""
        checkpoint = {key: plain(value, key) for key, value in checkpoint.items()}
        with atomic_write(Path(path)) as part, part.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch covers what the system said, such as a full disk
                raise _system_error(error) or error from error
            self._check()
        logger.debug("saved %s", path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load plain containers only, whatever `weights_only` is."""
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return checkpoint


def plain(value: Any, key: str) -> Any:
    """Return a part of a checkpoint with numpy's numbers as Python's.

    Raises:
        TrainingError: it holds something that is not loaded with weights_only=True, such as an object of a callback's.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, OrderedDict):
        made = copy(value)  # with what a state_dict knows of versions
        made.update({k: plain(item, f"{key}.{k}") for k, item in value.items()})
        return made
    if type(value) in (list, tuple, set):
        return type(value)(plain(item, key) for item in value)
    if value is None or type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return value
    raise TrainingError(
        f"the checkpoint's {key} is of type {type(value).__name__}; checkpoints hold numbers, text, tensors and "
        "containers of them (see state_dict or on_save_checkpoint of what it belongs to)"
    )


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def check_resumable(path: Path) -> None:
    """That a run can go on from a checkpoint.

    Raises:
        Galaxy10Error: it is damaged, holds more than plain containers, is not one of galaxy10's, or names code that
            nobody has trusted.
    """
    try:
        check_trusted(load_checkpoint(path)["galaxy10"].get("model"), str(path))
    except Galaxy10Error as error:
        raise Galaxy10Error(
            f"this run cannot go on: {error}, or add run.overwrite=true to move {path.parents[1]} aside and begin again"
        ) from error


class _MovableCheckpoint(ModelCheckpoint):
    """Lightning's forgets which epoch was best when the run directory has another path than before."""

    @property
    def state_key(self) -> str:
        """As Lightning's own is called in checkpoints."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What was kept under the old path is under the new one."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": models, "dirpath": self.dirpath})


def checkpoint_callbacks(directory: Path, monitor: str, mode: str) -> list[ModelCheckpoint]:
    """Return what keeps best.ckpt by the monitored metric (mode: min or max), and last.ckpt after every epoch, in this
    order: what last.ckpt remembers must include this epoch's best."""
    common: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "auto_insert_metric_name": False}
    return [
        _MovableCheckpoint(filename="best", monitor=monitor, mode=mode, save_top_k=1, **common),
        _MovableCheckpoint(filename="last", monitor=None, save_top_k=1, save_on_train_epoch_end=True, **common),
    ]
