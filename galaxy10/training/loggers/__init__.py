"""Loggers beside metrics.csv: W&B and TensorBoard, Lightning's, and a user's own, any number at once."""

from typing import TYPE_CHECKING, Any

from galaxy10.training.loggers.build import build_loggers, close_loggers
from galaxy10.training.loggers.settings import check_loggers

if TYPE_CHECKING:
    from galaxy10.training.loggers.tensorboard_logger import TensorBoardLogger
    from galaxy10.training.loggers.wandb_logger import WandbLogger

__all__ = ["TensorBoardLogger", "WandbLogger", "build_loggers", "check_loggers", "close_loggers"]


def __getattr__(name: str) -> Any:
    """Import a logger's class when it is first used: what runs before training does without Lightning."""
    if name == "TensorBoardLogger":
        from galaxy10.training.loggers.tensorboard_logger import TensorBoardLogger

        return TensorBoardLogger
    if name == "WandbLogger":
        from galaxy10.training.loggers.wandb_logger import WandbLogger

        return WandbLogger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
