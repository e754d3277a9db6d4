"""Checkpoints, written atomically: after a kill, a file holds the old checkpoint or the new one."""

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
    """A checkpoint writer that is atomic also if the system's temporary directory is on another file system.

    Args:
        check: function called before the finished file is renamed; raises if another process owns the directory.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._check = check

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to a temporary file, sync it, and rename it.

        Raises:
            TrainingError: the checkpoint holds objects that torch.load(weights_only=True) refuses.
            Galaxy10Error: the disk is full or the folder cannot be written.
        """
        checkpoint = {key: to_plain(value, key) for key, value in checkpoint.items()}
        with atomic_write(Path(path)) as part, part.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides the system's error, such as a full disk
                raise _system_error(error) or error from error
            self._check()
        logger.debug("saved %s", path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load plain containers only, whatever `weights_only` is."""
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return checkpoint


def to_plain(value: Any, key: str) -> Any:
    """Return a part of a checkpoint with numpy scalars converted to Python numbers.

    Args:
        key: key of the part in the checkpoint, for messages.

    Raises:
        TrainingError: a value cannot be loaded with weights_only=True, such as an object in a callback's state.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, OrderedDict):
        converted = copy(value)  # keeps a state_dict's _metadata
        converted.update({k: to_plain(item, f"{key}.{k}") for k, item in value.items()})
        return converted
    if type(value) in (list, tuple, set):
        return type(value)(to_plain(item, key) for item in value)
    if value is None or type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return value
    raise TrainingError(
        f"the checkpoint's {key} is of type {type(value).__name__}; checkpoints hold numbers, text, tensors and "
        "containers of them (change the state_dict or on_save_checkpoint that returns it)"
    )


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def check_resumable(path: Path) -> None:
    """Check that a run can resume from a checkpoint.

    Raises:
        Galaxy10Error: the checkpoint is damaged, holds objects other than plain containers, was not written by
            galaxy10, or names code that is not trusted.
    """
    try:
        check_trusted(load_checkpoint(path)["galaxy10"].get("model"), str(path))
    except Galaxy10Error as error:
        raise Galaxy10Error(
            f"this run cannot resume: {error}, or add run.overwrite=true to move {path.parents[1]} aside and restart"
        ) from error


class _MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that still knows the best epoch after the run directory has moved."""

    @property
    def state_key(self) -> str:
        """The same key as Lightning's class has, so that checkpoints do not name this one."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state, with the paths of the checkpoints replaced by those in the current directory."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": models, "dirpath": self.dirpath})


def checkpoint_callbacks(directory: Path, monitor: str, mode: str) -> list[ModelCheckpoint]:
    """Return the callbacks that save best.ckpt and last.ckpt.

    The order matters: the state saved in last.ckpt must include this epoch's best value.

    Args:
        monitor: metric that chooses the best epoch.
        mode: min or max.
    """
    common: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "auto_insert_metric_name": False}
    return [
        _MovableCheckpoint(filename="best", monitor=monitor, mode=mode, save_top_k=1, **common),
        _MovableCheckpoint(filename="last", monitor=None, save_top_k=1, save_on_train_epoch_end=True, **common),
    ]
