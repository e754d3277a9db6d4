"""Preprocessing and augmentation of uint8 batches on the training device.

Every random draw is a function of (seed, epoch, row): it does not depend on batch, device count or restart (see
counter_rng.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

import galaxy10.data.counter_rng as counter_rng
from galaxy10.data.dihedral import DIHEDRAL, apply_dihedral, compose_dihedral, dihedral_matrices
from galaxy10.data.image_geometry import center_square, resample, resize, to_nchw
from galaxy10.data.pose_schedule import SCHEDULES, drawn_poses
from galaxy10.data.settings import check_schedule
from galaxy10.errors import Galaxy10Error

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Augmentation:
    """The random transforms of training images; the default is none.

    Attributes:
        name: the choice of the `augment` group, for the record.
        dihedral: none, horizontal_flip, or all eight flips and quarter turns.
        dihedral_schedule: independent, or cycle: each galaxy has all eight once in eight epochs (pose_schedule.py).
        crop_area: share of the image's area that a random crop keeps, (low, high); (1, 1) for no crop.
        crop_aspect: width over height of the crop, (low, high), drawn uniformly in the logarithm.
        rotation_deg: the rotation angle is drawn from ± this many degrees.
        zoom: magnification (low, high), drawn uniformly in the logarithm.
        shift: largest shift, as a share of the image's width and height.
        noise: Gaussian noise β in units of the data set's standard deviation σ (of each channel).
        before: custom modules, applied before all of these (see custom_transforms.py).
        after: custom modules, applied after all of these.

    Raises:
        Galaxy10Error: dihedral_schedule is unknown, or is cycle and there are no flips to order.
    """

    name: str = "none"
    dihedral: str = "none"
    dihedral_schedule: str = "independent"
    crop_area: tuple[float, float] = (1.0, 1.0)
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    noise: float = 0.0
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Check the schedule."""
        if self.dihedral_schedule not in SCHEDULES:
            raise Galaxy10Error(f"dihedral_schedule={self.dihedral_schedule} is not one of {', '.join(SCHEDULES)}")
        check_schedule(self.dihedral, self.dihedral_schedule)

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> "Augmentation":
        """Return the Augmentation of the `augment` section of a configuration, whose pairs are lists."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    @property
    def max_magnification(self) -> float:
        """Return the largest factor by which a galaxy is ever enlarged."""
        (smallest, _), (narrow, wide) = self.crop_area, self.crop_aspect
        return self.zoom[1] / min(math.sqrt(smallest * narrow), math.sqrt(smallest / wide), 1.0)

    @property
    def resamples(self) -> bool:
        """Return whether the transforms need interpolation (flips and quarter turns do not)."""
        moves = self.rotation_deg > 0 or self.shift > 0
        return moves or any(tuple(x) != (1.0, 1.0) for x in (self.crop_area, self.crop_aspect, self.zoom))


@dataclass(frozen=True)
class Preprocessing:
    """How stored pixels become a network's input: the same for training, evaluation and prediction.

    Attributes:
        image_size: px, the side of the network's square input.
        mean: per channel on the 0–1 scale, subtracted from the pixels.
        std: per channel on the 0–1 scale; the difference is divided by it.
        noise_sigma: per channel on the 0–1 scale, the data set's σ, the unit of Augmentation.noise.
        interpolation: how images are resized: bilinear or bicubic, both antialiased. Use the one that the pretrained
            weights were trained with.

    Raises:
        Galaxy10Error: the interpolation is unknown.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    noise_sigma: Sequence[float] = (0.0, 0.0, 0.0)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Check the interpolation."""
        if self.interpolation not in INTERPOLATIONS:
            raise Galaxy10Error(f"interpolation={self.interpolation} is not one of {', '.join(INTERPOLATIONS)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of Preprocessing as plain containers."""
        per_channel = {"mean": self.mean, "std": self.std, "noise_sigma": self.noise_sigma}
        plain: dict[str, Any] = {key: list(map(float, v)) for key, v in per_channel.items()}
        return {"image_size": self.image_size, **plain, "interpolation": self.interpolation}

    def eval_transform(self, images: torch.Tensor) -> torch.Tensor:
        """Resize and normalise images (B, H, W, 3) uint8 to (B, 3, S, S) float32, channels-last in memory."""
        return to_nchw(self._normalise(self._resize(center_square(images), self.image_size)))

    def train_transform(
        self,
        images: torch.Tensor,
        augmentation: Augmentation,
        seed: int,
        epoch: int,
        rows: torch.Tensor,
        repeat_index: torch.Tensor,
        dihedral: torch.Tensor,
    ) -> torch.Tensor:
        """Augment and normalise images (B, H, W, 3), uint8 or floats from 0 to 255, to (B, 3, S, S) float32.

        The result is channels-last in memory.

        Args:
            rows: (B,) rows of the images in the file.
            repeat_index: (B,) which of its repeats in this epoch an image is, from 0.
            dihedral: (B,) 0–7, the flip or turn that resampling gives this repeat, before the random one.
        """
        images = center_square(images)
        mask = DIHEDRAL[augmentation.dihedral]
        if mask:
            # One draw for all repeats of a galaxy, so that resampling's different turns stay different.
            drawn = drawn_poses(augmentation.dihedral_schedule, mask, seed, epoch, rows)
            dihedral = compose_dihedral(dihedral, drawn)
        key = counter_rng.sample_seeds(seed, epoch, rows, repeat_index)
        if augmentation.resamples:
            # Detail that no affine map can show is filtered out first: cheaper than many samples per pixel.
            size = min(images.shape[1], math.ceil(self.image_size * augmentation.max_magnification))
            images = self._resize(images, size)
            affines = dihedral_matrices(dihedral) @ _random_affines(augmentation, key)
            images = resample(images, affines, self.image_size)
        else:
            images = apply_dihedral(self._resize(images, self.image_size), dihedral)
        inputs = self._normalise(images)
        if augmentation.noise > 0:
            noise = counter_rng.normal(counter_rng.splitmix64(key + 1), inputs.shape[1:].numel())
            unit = [augmentation.noise * sigma / std for sigma, std in zip(self.noise_sigma, self.std, strict=True)]
            lines = inputs.view(-1, inputs.shape[2] * 3)
            lines.addcmul_(noise.view_as(lines), _along_line(tuple(unit), inputs.shape[2], inputs.device))
        return to_nchw(inputs)

    def denormalize(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return normalised inputs (B, 3, S, S) float as images (B, S, S, 3) uint8."""
        mean, std = (torch.tensor(x, device=inputs.device)[:, None, None] for x in (self.mean, self.std))
        return ((inputs * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _resize(self, images: torch.Tensor, size_px: int) -> torch.Tensor:
        return resize(images, size_px, self.interpolation)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (B, S, S, 3) on the 0–255 scale to (B, S, S, 3) float32, contiguous."""
        # Whole rows of pixels at once: a dimension of three channels is too short for vector instructions.
        lines = images.reshape(-1, images.shape[2] * 3).to(torch.float32)
        scale = [1 / (255 * std) for std in self.std]
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        shifts, scales = (_along_line(tuple(x), images.shape[2], images.device) for x in (shift, scale))
        return torch.addcmul(shifts, lines, scales).view(images.shape)


@lru_cache(maxsize=32)
def _along_line(values: tuple[float, ...], pixels: int, device: torch.device) -> torch.Tensor:
    """Repeat values (3,) for each pixel of a row: (pixels × 3,). Cached: making a tensor synchronises a GPU."""
    return torch.tensor(values, dtype=torch.float32, device=device).repeat(pixels)


def _random_affines(augmentation: Augmentation, key: torch.Tensor) -> torch.Tensor:
    """Draw affine maps (B, 2, 3): crop, shift, zoom and rotation in one."""
    draw = counter_rng.uniform(key, 8)
    area = counter_rng.scale_to(*augmentation.crop_area, draw[:, 0])
    aspect = counter_rng.log_scale_to(*augmentation.crop_aspect, draw[:, 1])
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    # The crop's centre is limited so that the galaxy, in the middle of the image, stays inside: an unlimited crop of
    # a tenth of the area often shows nothing but black sky.
    reach_x, reach_y = torch.minimum(1 - width, width), torch.minimum(1 - height, height)
    centre_x = reach_x * (2 * draw[:, 2] - 1) + 2 * augmentation.shift * (2 * draw[:, 3] - 1)
    centre_y = reach_y * (2 * draw[:, 4] - 1) + 2 * augmentation.shift * (2 * draw[:, 5] - 1)
    zoom = counter_rng.log_scale_to(*augmentation.zoom, draw[:, 6])
    angle = math.radians(augmentation.rotation_deg) * (2 * draw[:, 7] - 1)
    width, height = width / zoom, height / zoom
    row_x = torch.stack([width * angle.cos(), -height * angle.sin(), centre_x], dim=1)
    row_y = torch.stack([width * angle.sin(), height * angle.cos(), centre_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)
