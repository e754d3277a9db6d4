"""Say when a custom data module feeds saturated or empty images; GalaxyData looks at its own."""

import logging
from typing import Any

import lightning as L
import numpy as np
import torch

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.quality import TrainingImages

logger = logging.getLogger(__name__)


class InputQuality(L.Callback):
    """Look at the first training images of a run, and log one note if more than 20 % are saturated or empty.

    Pixels are found through the module's `preprocessing`; without one, the smallest and the largest value of a batch
    stand for black and white.
    """

    def __init__(self) -> None:
        self._first_images = TrainingImages()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch (B, 3, S, S) until enough images were seen."""
        if self._first_images.complete or not trainer.is_global_zero:
            return
        inputs = batch.get("inputs") if isinstance(batch, dict) else None
        if not isinstance(inputs, torch.Tensor) or isinstance(getattr(trainer, "datamodule", None), GalaxyData):
            return
        preprocessing = getattr(pl_module, "preprocessing", None)
        pixels = grey_levels(inputs) if preprocessing is None else preprocessing.denormalize(inputs).cpu().numpy()
        if line := self._first_images.add(pixels):
            logger.info(f"note: {line}")


def grey_levels(inputs: torch.Tensor) -> np.ndarray:
    """Return inputs (B, 3, S, S) as (B, S, S, 3) uint8, from the smallest value (0) to the largest (255)."""
    values = inputs.detach().float()
    low, high = values.amin(), values.amax()
    scaled = (values - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny) * 255
    pixels: np.ndarray = scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels
