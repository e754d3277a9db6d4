"""Mix the images of a training batch with each other, and their classes in the same shares: MixUp and CutMix."""

from abc import abstractmethod
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F

from galaxy10.errors import TrainingError
from galaxy10.models.class_fractions import check_takes_fractions
from galaxy10.models.votes import loss_targets

_SALT = 0x6D6978  # another random stream than that of the order of an epoch


class Mixing(L.Callback):
    """Mix each image of a training batch with another one of the batch.

    The labels (B,) int64 of the batch become fractions (B, C) float32 that sum to 1. Every draw is a function of (seed,
    epoch, batch, process), so a resumed run repeats it. If a trainer has several callbacks of this kind, each batch
    draws one of them. Validation, test and prediction see whole images; train/accuracy counts the class that has most
    of an image.

    Args:
        num_classes: the number of classes, C.
        seed: of all draws; with several of these callbacks, the first one's.
        alpha: the share λ that an image keeps is drawn from Beta(alpha, alpha), one λ for a batch.
        probability: the share of batches that are mixed at all.

    Raises:
        ValueError: alpha is not above 0, or probability not from 0 to 1.
    """

    def __init__(self, num_classes: int, seed: int = 0, alpha: float = 1.0, probability: float = 1.0):
        if not alpha > 0 or not 0 <= probability <= 1:
            raise ValueError(f"alpha={alpha} is not above 0, or probability={probability} is not from 0 to 1")
        self.num_classes, self.seed = int(num_classes), int(seed)
        self.alpha, self.probability = float(alpha), float(probability)

    @abstractmethod
    def mix(
        self, inputs: torch.Tensor, partners: torch.Tensor, share: float, rng: np.random.Generator
    ) -> tuple[torch.Tensor, float]:
        """Return mixed inputs (B, 3, S, S), and the share of each that is its own image, 0–1.

        Args:
            inputs, partners: (B, 3, S, S), which are not changed.
            share: λ, 0–1.
        """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the loss of a galaxy10.models.Classifier at the start of fit.

        Raises:
            Galaxy10Error: it does not take fractions.
        """
        loss = getattr(pl_module, "criterion", None)
        if stage == "fit" and loss is not None:
            check_takes_fractions(loss, self.num_classes, pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Replace the inputs and labels of a batch.

        Raises:
            TrainingError: the batch is no dictionary of `inputs` and `labels`.
        """
        if not isinstance(batch, dict) or not {"inputs", "labels"} <= batch.keys():
            raise TrainingError(
                f"{type(self).__name__} mixes batches of the form {{inputs, labels}}, and this is a "
                f"{type(batch).__name__}; leave out callbacks=mixup and callbacks=cutmix"
            )
        mixers = [callback for callback in trainer.callbacks if isinstance(callback, Mixing)]  # type: ignore[attr-defined]
        where = (mixers[0].seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        rng = np.random.default_rng((_SALT, *where))  # the same numbers in each of these callbacks
        if mixers[int(rng.integers(len(mixers)))] is self:
            self.apply(batch, rng)

    def apply(self, batch: dict[str, torch.Tensor], rng: np.random.Generator) -> None:
        """Replace `inputs` (B, 3, S, S) and `labels` (B,) or (B, C) of a batch, with the given probability."""
        inputs, labels = batch["inputs"], loss_targets(None, batch)  # fractions of votes, if there are votes
        if len(inputs) < 2 or rng.random() >= self.probability:
            return
        share, start = float(rng.beta(self.alpha, self.alpha)), int(rng.integers(1, len(inputs)))
        batch["inputs"], share = self.mix(inputs, _rolled(inputs, start), share, rng)
        fractions = labels.float() if labels.ndim == 2 else F.one_hot(labels, self.num_classes).float()
        batch["labels"] = share * fractions + (1 - share) * _rolled(fractions, start)


class MixUp(Mixing):
    """Mix images and classes linearly: λ · image + (1 − λ) · another image (Zhang et al. 2018, arXiv 1710.09412).

    Args:
        num_classes, seed, alpha, probability: see Mixing. The paper's alpha for ImageNet is 0.1 to 0.4.
    """

    def __init__(self, num_classes: int, seed: int = 0, alpha: float = 0.2, probability: float = 1.0):
        super().__init__(num_classes, seed, alpha, probability)

    def mix(
        self, inputs: torch.Tensor, partners: torch.Tensor, share: float, rng: np.random.Generator
    ) -> tuple[torch.Tensor, float]:
        """Return share · inputs + (1 − share) · partners, and share."""
        return torch.lerp(partners, inputs, share), share


class CutMix(Mixing):
    """Paste a rectangle of another image (Yun et al. 2019, arXiv 1905.04899, eq. 1 and 2); classes count by area.

    The rectangle has the image's aspect ratio and the share 1 − λ of its area, around a point drawn uniformly; what
    would be outside is cut off, and the share is that of the remaining pixels. A rectangle may miss both galaxies,
    which are in the centre: the label then counts sky.

    Args:
        num_classes, seed, alpha, probability: see Mixing. The paper's alpha is 1.
    """

    def mix(
        self, inputs: torch.Tensor, partners: torch.Tensor, share: float, rng: np.random.Generator
    ) -> tuple[torch.Tensor, float]:
        """Return inputs with a rectangle of partners, and the share of pixels outside of the rectangle."""
        height, width = inputs.shape[-2:]
        down, right = (_interval(size, (1 - share) ** 0.5, rng) for size in (height, width))
        mixed = inputs.clone()
        mixed[..., down, right] = partners[..., down, right]
        pasted = (down.stop - down.start) * (right.stop - right.start)
        return mixed, 1 - pasted / (height * width)


def _interval(size: int, ratio: float, rng: np.random.Generator) -> slice:
    """Return the part of an axis (px) that lies within half of ratio · size of a point drawn uniformly."""
    centre, length = int(rng.integers(size)), round(size * ratio)
    start = centre - length // 2
    return slice(max(start, 0), min(start + length, size))


def _rolled(values: torch.Tensor, start: int) -> torch.Tensor:
    """Return values (B, …) from index start on, then those before, in the same memory format."""
    return torch.cat([values[start:], values[:start]])
