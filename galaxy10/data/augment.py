"""Batch augmentation on the device that trains: uint8 galaxies in, the network's input out.

Every draw is a function of (seed, epoch, row): independent of batch, device count and restart (see draws.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from galaxy10.data import draws

ORIENTATIONS = {"none": 0b000, "horizontal_flip": 0b001, "all": 0b111}


@dataclass(frozen=True)
class Augmentation:
    """One recipe: which variations of a training galaxy the network is shown. All off: the galaxy as it is.

    orientations: none, horizontal_flip, or all eight flips and quarter turns.
    crop_area: share of the picture's area that a random crop keeps, (low, high); (1, 1) for no crop.
    crop_aspect: width over height of the crop, (low, high), drawn uniformly in the logarithm.
    rotation_deg: turned by an angle drawn from ± this many degrees.
    zoom: magnification (low, high), drawn uniformly in the logarithm.
    shift: moved by up to this share of the picture's width and height.
    noise: Gaussian noise β in units of the data set's standard deviation σ (of each channel).
    """

    name: str = "none"
    orientations: str = "none"
    crop_area: tuple[float, float] = (1.0, 1.0)
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    noise: float = 0.0

    @property
    def resamples(self) -> bool:
        """Whether the recipe needs interpolation (flips and quarter turns do not)."""
        moves = self.rotation_deg > 0 or self.shift > 0
        return moves or any(tuple(x) != (1.0, 1.0) for x in (self.crop_area, self.crop_aspect, self.zoom))


@dataclass(frozen=True)
class Preparation:
    """What turns stored pixels into a network's input: the same for training, evaluation and prediction.

    image_size: px, the side of the network's square input.
    mean, std: per channel on the 0–1 scale, subtracted and divided by.
    noise_sigma: per channel on the 0–1 scale, the data set's σ, the unit of Augmentation.noise.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    noise_sigma: Sequence[float] = (0.0, 0.0, 0.0)

    def plain(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 → (B, 3, S, S) float32, normalised, without augmentation."""
        return self._normalise(resize(to_planes(square(images)), self.image_size))

    def augmented(
        self,
        images: torch.Tensor,
        augmentation: Augmentation,
        seed: int,
        epoch: int,
        rows: torch.Tensor,
        copies: torch.Tensor,
        orientations: torch.Tensor,
    ) -> torch.Tensor:
        """(B, H, W, 3) uint8 → (B, 3, S, S) float32, augmented and normalised.

        rows, copies: (B,) which galaxy, and the how-manieth showing of it in this epoch.
        orientations: (B,) 0–7, how the balancing wants this showing turned, before anything is drawn.
        """
        images = orient(square(images), orientations)
        mask = ORIENTATIONS[augmentation.orientations]
        if mask:
            # One draw for all showings of a galaxy, so that what balancing turned apart stays apart.
            drawn = (draws.uniform(draws.keys(seed, epoch, rows), 1)[:, 0] * 8).to(torch.int64)
            images = orient(images, drawn & mask)
        key = draws.keys(seed, epoch, rows, copies)
        planes = to_planes(images)
        if augmentation.resamples:
            planes = resample(planes, _random_windows(augmentation, key), self.image_size)
        else:
            planes = resize(planes, self.image_size)
        planes = self._normalise(planes)
        if augmentation.noise > 0:
            noise = draws.normal(draws.mix(key + 1), tuple(planes.shape[1:]))
            unit = torch.tensor(self.noise_sigma, device=planes.device) / torch.tensor(self.std, device=planes.device)
            planes = torch.addcmul(planes, noise, (augmentation.noise * unit)[:, None, None])
        return planes

    def visible(self, inputs: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation for people: (B, 3, S, S) float → (B, S, S, 3) uint8."""
        mean, std = (torch.tensor(x, device=inputs.device)[:, None, None] for x in (self.mean, self.std))
        return ((inputs * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _normalise(self, planes: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(x, device=planes.device)[:, None, None] for x in (self.mean, self.std))
        return torch.addcmul(-mean / std, planes, 1 / (255 * std))


def square(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) → (B, S, S, 3): the central square; the galaxy is in the middle of its picture."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def to_planes(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 → (B, 3, H, W) float32 on the 0–255 scale, in channels-last memory order."""
    return images.permute(0, 3, 1, 2).to(torch.float32)


def orient(images: torch.Tensor, orientations: torch.Tensor) -> torch.Tensor:
    """The eight flips and quarter turns of a square, exactly: (B, S, S, 3) and (B,) 0–7 → (B, S, S, 3).

    Bit 1 mirrors left and right, bit 2 top and bottom, bit 4 swaps rows and columns, in this order.
    """
    for bit, turned in ((1, lambda x: x.flip(2)), (2, lambda x: x.flip(1)), (4, lambda x: x.transpose(1, 2))):
        chosen = (orientations & bit) > 0
        if images.device.type != "cpu" or chosen.any():
            images = torch.where(chosen[:, None, None, None], turned(images), images)
    return images


def views(planes: torch.Tensor, number: int) -> list[torch.Tensor]:
    """The first `number` of a picture's eight orientations: (B, 3, S, S) → as many (B, 3, S, S).

    One: the picture as it is. Eight: all flips and quarter turns, none of which changes a galaxy's shape.
    """
    both = [planes, planes.flip(3), planes.flip(2), planes.flip((2, 3))]
    return [*both, *(x.transpose(2, 3) for x in both)][:number]


def resize(planes: torch.Tensor, size_px: int) -> torch.Tensor:
    """(B, 3, S, S) → (B, 3, size, size), with the low-pass filter without which shrinking aliases."""
    if planes.shape[-1] == size_px:
        return planes
    return F.interpolate(planes, size=(size_px, size_px), mode="bilinear", antialias=True)


def resample(planes: torch.Tensor, windows: torch.Tensor, size_px: int) -> torch.Tensor:
    """Look at each picture through its window: (B, 3, S, S), (B, 2, 3) → (B, 3, size, size).

    windows: affine maps from output to input coordinates, both from −1 to 1. Where more than one input pixel falls
    on an output pixel, several samples are averaged. Beyond the border the sky is mirrored, never black.
    """
    samples = max(1, round(planes.shape[-1] / size_px))
    fine = size_px * samples
    grid = F.affine_grid(windows, [len(planes), 3, fine, fine], align_corners=False)
    planes = F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(planes, samples) if samples > 1 else planes


def _random_windows(augmentation: Augmentation, key: torch.Tensor) -> torch.Tensor:
    """(B, 2, 3) affine maps: crop, shift, zoom and rotation in one."""
    draw = draws.uniform(key, 8)
    area = draws.between(*augmentation.crop_area, draw[:, 0])
    aspect = draws.log_between(*augmentation.crop_aspect, draw[:, 1])
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    # The window's centre may go only so far that the galaxy, in the middle of the picture, stays inside:
    # a free crop of a tenth of the area often shows nothing but black sky.
    reach_x, reach_y = torch.minimum(1 - width, width), torch.minimum(1 - height, height)
    centre_x = reach_x * (2 * draw[:, 2] - 1) + 2 * augmentation.shift * (2 * draw[:, 3] - 1)
    centre_y = reach_y * (2 * draw[:, 4] - 1) + 2 * augmentation.shift * (2 * draw[:, 5] - 1)
    zoom = draws.log_between(*augmentation.zoom, draw[:, 6])
    angle = math.radians(augmentation.rotation_deg) * (2 * draw[:, 7] - 1)
    width, height = width / zoom, height / zoom
    row_x = torch.stack([width * angle.cos(), -height * angle.sin(), centre_x], dim=1)
    row_y = torch.stack([width * angle.sin(), height * angle.cos(), centre_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)
