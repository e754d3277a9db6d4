"""Transform the batches of a loader into network inputs, with custom modules before and after."""

from typing import Any

import torch

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.custom_transforms import CustomTransforms
from galaxy10.data.image_geometry import to_nchw
from galaxy10.data.votes import VOTES

Batch = dict[str, Any]


class BatchTransform:
    """The transform of batches of images (B, H, W, 3) uint8 to {"inputs": (B, 3, S, S) float32, "labels", "rows"}.

    Votes stay in a batch that has them.

    Args:
        seed: every draw is a function of the seed, the epoch, and the rows of the batch.

    Attributes:
        cached_images: the training images on the device, if batches have `positions` in place of images; else None.
    """

    def __init__(self, augmentation: Augmentation, seed: int):
        self.augmentation, self.seed = augmentation, seed
        self.custom = CustomTransforms(augmentation.before, augmentation.after)
        self.cached_images: torch.Tensor | None = None

    @property
    def can_prefetch(self) -> bool:
        """Return whether another thread may call `prefetch`: custom modules draw from the main thread's generators."""
        return "before" not in self.custom

    def train(self, batch: Batch, epoch: int, preprocessing: Preprocessing) -> Batch:
        """Return the network inputs of a training batch in an epoch, whether or not the batch was prefetched."""
        if "inputs" not in batch:
            batch = self.prefetch(batch, epoch, preprocessing)
        inputs = batch["inputs"]
        if "after" in self.custom:
            inputs = self.custom.apply("after", inputs, self.seed, epoch, batch["first"])
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return {"inputs": inputs, **_kept(batch)}

    def prefetch(self, batch: Batch, epoch: int, preprocessing: Preprocessing) -> Batch:
        """Do the part of `train` before the custom modules `augment.after`."""
        images = batch["images"] if self.cached_images is None else self.cached_images[batch["positions"]]
        if "before" in self.custom:
            pixels = to_nchw(images).to(torch.float32) / 255
            pixels = self.custom.apply("before", pixels, self.seed, epoch, batch["first"])
            images = pixels.permute(0, 2, 3, 1) * 255
        drawn = (self.seed, epoch, batch["rows"], batch["repeat_index"], batch["dihedral"])
        inputs = preprocessing.train_transform(images, self.augmentation, *drawn)
        return {"inputs": inputs, **_kept(batch), "first": batch["first"]}

    def evaluate(self, batch: Batch, preprocessing: Preprocessing) -> Batch:
        """Return an evaluation batch, which is not augmented."""
        inputs = preprocessing.eval_transform(batch["images"])
        return {"inputs": inputs, **_kept(batch)}


def _kept(batch: Batch) -> Batch:
    return {key: batch[key] for key in ("labels", "rows", VOTES) if key in batch}
