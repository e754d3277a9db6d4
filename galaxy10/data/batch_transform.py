"""From the batches that a loader gathers to what a network is given: ours, and modules of a user's around it."""

from typing import Any

import torch

from galaxy10.data.augment import Augmentation, Preprocessing, to_nchw
from galaxy10.data.variations import Variations

Batch = dict[str, Any]


class BatchTransform:
    """Batches of images (B, H, W, 3) uint8 → {"inputs": (B, 3, S, S) float32, "labels": (B,), "rows": (B,)}.

    resident: the training subset's images on the device, where batches name `positions` in place of images.

    Args:
        seed: every draw is a function of it, the epoch, and the images of the batch.
    """

    def __init__(self, augmentation: Augmentation, seed: int):
        self.augmentation, self.seed = augmentation, seed
        self.variations = Variations(augmentation.before, augmentation.after)
        self.resident: torch.Tensor | None = None

    @property
    def may_run_ahead(self) -> bool:
        """Whether another thread may do `begin`: a user's module draws from the generators of the main thread."""
        return "before" not in self.variations

    def train(self, batch: Batch, epoch: int, preprocessing: Preprocessing) -> Batch:
        """A training batch, gathered or begun, as it is in an epoch."""
        if "inputs" not in batch:
            batch = self.begin(batch, epoch, preprocessing)
        inputs = batch["inputs"]
        if "after" in self.variations:
            inputs = self.variations.apply("after", inputs, self.seed, epoch, batch["first"])
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return {"inputs": inputs, "labels": batch["labels"], "rows": batch["rows"]}

    def begin(self, batch: Batch, epoch: int, preprocessing: Preprocessing) -> Batch:
        """All of `train` but the modules that come after ours."""
        images = batch["images"] if self.resident is None else self.resident[batch["positions"]]
        if "before" in self.variations:
            pixels = to_nchw(images).to(torch.float32) / 255
            pixels = self.variations.apply("before", pixels, self.seed, epoch, batch["first"])
            images = pixels.permute(0, 2, 3, 1) * 255
        drawn = (self.seed, epoch, batch["rows"], batch["copies"], batch["dihedral"])
        inputs = preprocessing.train_transform(images, self.augmentation, *drawn)
        return {"inputs": inputs, **{key: batch[key] for key in ("labels", "rows", "first")}}

    def evaluate(self, batch: Batch, preprocessing: Preprocessing) -> Batch:
        """A batch as it is judged: not augmented."""
        inputs = preprocessing.eval_transform(batch["images"])
        return {"inputs": inputs, "labels": batch["labels"], "rows": batch["rows"]}
