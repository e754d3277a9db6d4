"""Loggers in addition to metrics.csv: W&B, TensorBoard, Lightning's loggers and a user's own, also several at once."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes
from galaxy10.training.loggers.build import build_loggers, close_loggers
from galaxy10.training.loggers.settings import check_loggers

if TYPE_CHECKING:
    from galaxy10.training.loggers.tensorboard_logger import TensorBoardLogger
    from galaxy10.training.loggers.wandb_logger import WandbLogger

__all__ = ["TensorBoardLogger", "WandbLogger", "build_loggers", "check_loggers", "close_loggers"]
__getattr__, __dir__ = lazy_attributes(
    __name__, {"TensorBoardLogger": "tensorboard_logger", "WandbLogger": "wandb_logger"}
)
