"""Batch augmentation on the device that trains: uint8 galaxies in, the network's input out.

Every draw is a function of (seed, epoch, row): independent of batch, device count and restart (see counter_rng.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import galaxy10.data.counter_rng as counter_rng
from galaxy10.errors import Galaxy10Error

INTERPOLATIONS = ("bilinear", "bicubic")
DIHEDRAL = {"none": 0b000, "horizontal_flip": 0b001, "all": 0b111}


@dataclass(frozen=True)
class Augmentation:
    """One recipe: which variations of a training galaxy the network is shown. All off: the galaxy as it is.

    dihedral: none, horizontal_flip, or all eight flips and quarter turns.
    crop_area: share of the picture's area that a random crop keeps, (low, high); (1, 1) for no crop.
    crop_aspect: width over height of the crop, (low, high), drawn uniformly in the logarithm.
    rotation_deg: turned by an angle drawn from ± this many degrees.
    zoom: magnification (low, high), drawn uniformly in the logarithm.
    shift: moved by up to this share of the picture's width and height.
    noise: Gaussian noise β in units of the data set's standard deviation σ (of each channel).
    before, after: somebody's own modules, around all of these (see variations.py).
    """

    name: str = "none"
    dihedral: str = "none"
    crop_area: tuple[float, float] = (1.0, 1.0)
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    noise: float = 0.0
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Augmentation":
        """From the `augment` section of a configuration, whose pairs are lists."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    @property
    def magnification(self) -> float:
        """The most that a galaxy is ever enlarged, as a factor on its size in the picture as it is."""
        (smallest, _), (narrow, wide) = self.crop_area, self.crop_aspect
        return self.zoom[1] / min(math.sqrt(smallest * narrow), math.sqrt(smallest / wide), 1.0)

    @property
    def resamples(self) -> bool:
        """Whether the recipe needs interpolation (flips and quarter turns do not)."""
        moves = self.rotation_deg > 0 or self.shift > 0
        return moves or any(tuple(x) != (1.0, 1.0) for x in (self.crop_area, self.crop_aspect, self.zoom))


@dataclass(frozen=True)
class Preprocessing:
    """What turns stored pixels into a network's input: the same for training, evaluation and prediction.

    image_size: px, the side of the network's square input.
    mean, std: per channel on the 0–1 scale, subtracted and divided by.
    noise_sigma: per channel on the 0–1 scale, the data set's σ, the unit of Augmentation.noise.
    interpolation: bilinear or bicubic, both antialiased; how images are resized. Pretrained weights expect theirs.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    noise_sigma: Sequence[float] = (0.0, 0.0, 0.0)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Refuse an interpolation that there is not."""
        if self.interpolation not in INTERPOLATIONS:
            raise Galaxy10Error(f"interpolation={self.interpolation} is not one of {', '.join(INTERPOLATIONS)}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain containers, from which `Preprocessing(**values)` makes it again."""
        per_channel = {"mean": self.mean, "std": self.std, "noise_sigma": self.noise_sigma}
        plain: dict[str, Any] = {key: list(map(float, v)) for key, v in per_channel.items()}
        return {"image_size": self.image_size, **plain, "interpolation": self.interpolation}

    def eval_transform(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 → (B, 3, S, S) float32 in channels-last memory order, normalised, not augmented."""
        return to_nchw(self._normalise(self._resize(center_square(images), self.image_size)))

    def train_transform(
        self,
        images: torch.Tensor,
        augmentation: Augmentation,
        seed: int,
        epoch: int,
        rows: torch.Tensor,
        copies: torch.Tensor,
        dihedral: torch.Tensor,
    ) -> torch.Tensor:
        """(B, H, W, 3) uint8, or floats from 0 to 255 → (B, 3, S, S) float32 in channels-last memory order, augmented
        and normalised.

        rows, copies: (B,) which galaxy, and the how-manieth showing of it in this epoch.
        dihedral: (B,) 0–7, how the balancing wants this showing turned, before anything is drawn.
        """
        images = center_square(images)
        mask = DIHEDRAL[augmentation.dihedral]
        if mask:
            # One draw for all showings of a galaxy, so that what balancing turned apart stays apart.
            drawn = (counter_rng.uniform(counter_rng.sample_seeds(seed, epoch, rows), 1)[:, 0] * 8).to(torch.int64)
            dihedral = compose(dihedral, drawn & mask)
        key = counter_rng.sample_seeds(seed, epoch, rows, copies)
        if augmentation.resamples:
            # What no window can show is filtered out beforehand, which is cheaper than many samples per pixel.
            size = min(images.shape[1], math.ceil(self.image_size * augmentation.magnification))
            images = self._resize(images, size)
            windows = dihedral_matrices(dihedral) @ _random_windows(augmentation, key)
            images = resample(images, windows, self.image_size)
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
        """Undo the normalisation for people: (B, 3, S, S) float → (B, S, S, 3) uint8."""
        mean, std = (torch.tensor(x, device=inputs.device)[:, None, None] for x in (self.mean, self.std))
        return ((inputs * std + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _resize(self, images: torch.Tensor, size_px: int) -> torch.Tensor:
        return resize(images, size_px, self.interpolation)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) on the 0–255 scale → (B, S, S, 3) float32, contiguous."""
        # Whole lines of pixels at once: a dimension of three channels is too short for vector instructions.
        lines = images.reshape(-1, images.shape[2] * 3).to(torch.float32)
        scale = [1 / (255 * std) for std in self.std]
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        shifts, scales = (_along_line(tuple(x), images.shape[2], images.device) for x in (shift, scale))
        return torch.addcmul(shifts, lines, scales).view(images.shape)


@lru_cache(maxsize=32)
def _along_line(values: tuple[float, ...], pixels: int, device: torch.device) -> torch.Tensor:
    """(3,) → (pixels × 3,): a value per channel, for each pixel of a line. Kept: to make one stops a GPU."""
    return torch.tensor(values, dtype=torch.float32, device=device).repeat(pixels)


def center_square(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) → (B, S, S, 3): the central square; the galaxy is in the middle of its picture."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def to_nchw(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) → (B, 3, H, W), the same memory: networks call it channels-last."""
    return images.permute(0, 3, 1, 2)


def apply_dihedral(images: torch.Tensor, dihedral: torch.Tensor) -> torch.Tensor:
    """The eight flips and quarter turns of a square, exactly: (B, S, S, 3) and (B,) 0–7 → (B, S, S, 3).

    Bit 1 mirrors left and right, bit 2 top and bottom, bit 4 swaps rows and columns, in this order.
    """
    if images.device.type == "cpu":
        turned_images = np.empty(images.shape, images.numpy().dtype)
        for image, out, bits in zip(images.numpy(), turned_images, dihedral.tolist(), strict=True):
            image = image[:: -1 if bits & 2 else 1, :: -1 if bits & 1 else 1]
            out[:] = image.transpose(1, 0, 2) if bits & 4 else image
        return torch.from_numpy(turned_images)
    for bit, turned in ((1, lambda x: x.flip(2)), (2, lambda x: x.flip(1)), (4, lambda x: x.transpose(1, 2))):
        images = torch.where(((dihedral & bit) > 0)[:, None, None, None], turned(images), images)
    return images


def compose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The dihedral (B,) that do in one step what apply_dihedral does in two."""
    swapped = (second & 4) | ((second & 1) << 1) | ((second & 2) >> 1)
    return first ^ torch.where((first & 4) > 0, swapped, second)


def dihedral_matrices(dihedral: torch.Tensor) -> torch.Tensor:
    """(B,) 0–7 → (B, 2, 2): from a place (x, y) in the turned picture to the same place in the picture as it was."""
    sign_x, sign_y = (1.0 - 2.0 * ((dihedral & bit) > 0).float() for bit in (1, 2))
    swaps = ((dihedral & 4) > 0).float()
    rows = [sign_x * (1 - swaps), sign_x * swaps, sign_y * swaps, sign_y * (1 - swaps)]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def tta_views(planes: torch.Tensor, number: int) -> list[torch.Tensor]:
    """The first `number` of a picture's eight dihedral: (B, 3, S, S) → as many (B, 3, S, S).

    One: the picture as it is. Eight: all flips and quarter turns, none of which changes a galaxy's shape.
    """
    both = [planes, planes.flip(3), planes.flip(2), planes.flip((2, 3))]
    return [*both, *(x.transpose(2, 3) for x in both)][:number]


def resize(images: torch.Tensor, size_px: int, interpolation: str = "bilinear") -> torch.Tensor:
    """(B, S, S, 3) uint8 → (B, size, size, 3) uint8, with the low-pass filter without which shrinking aliases.

    Rounded to whole grey levels, as image libraries do it: on CPUs that is ten times as fast as in floating point.
    Floats, which somebody's own module has made, stay floats.
    """
    if images.shape[1] == size_px:
        return images
    planes = to_nchw(images)
    if images.device.type == "cpu" or images.is_floating_point():
        planes = F.interpolate(planes, size=(size_px, size_px), mode=interpolation, antialias=True)
    else:  # CUDA has no such filter for bytes
        planes = F.interpolate(planes.float(), size=(size_px, size_px), mode=interpolation, antialias=True)
        planes = planes.round().clamp(0, 255).to(torch.uint8)
    return planes.permute(0, 2, 3, 1)


def resample(images: torch.Tensor, windows: torch.Tensor, size_px: int) -> torch.Tensor:
    """Look at each picture through its window: (B, S, S, 3) uint8, (B, 2, 3) → (B, size, size, 3) float32, 0–255.

    windows: affine maps from output to input coordinates, both from −1 to 1. Where a window lays several input pixels
    on an output pixel, as many samples each way are averaged. Beyond the border the sky is mirrored, never black.
    """
    per_pixel = images.shape[1] / size_px
    most = max(1, round(per_pixel))
    if most == 1:
        return _sample(images, windows, size_px, 1)
    steps = windows[:, :, :2].norm(dim=1).amax(dim=1) * per_pixel
    samples = steps.round().clamp(1, most)
    if images.device.type == "cpu":
        return _sample_some(images, windows, size_px, samples)
    return _sample_all(images, windows, size_px, samples, most)


def _sample_some(images: torch.Tensor, windows: torch.Tensor, size_px: int, samples: torch.Tensor) -> torch.Tensor:
    """Each picture with its own number of samples (B,), and no more."""
    out = torch.empty(len(images), size_px, size_px, 3, dtype=torch.float32)
    for number in samples.unique().tolist():
        these = samples == number
        out[these] = _sample(images[these], windows[these], size_px, int(number))
    return out


def _sample_all(
    images: torch.Tensor, windows: torch.Tensor, size_px: int, samples: torch.Tensor, most: int
) -> torch.Tensor:
    """The same with every number of samples for every picture: to know which is needed, a host would have to wait."""
    out = _sample(images, windows, size_px, most)
    for number in range(1, most):
        fewer = _sample(images, windows, size_px, number)
        out = torch.where((samples == number)[:, None, None, None], fewer, out)
    return out


def _sample(images: torch.Tensor, windows: torch.Tensor, size_px: int, samples: int) -> torch.Tensor:
    """(B, S, S, 3) uint8, (B, 2, 3) → (B, size, size, 3) float32: the mean of samples × samples places per pixel."""
    planes = to_nchw(images).to(torch.float32, memory_format=torch.contiguous_format)

    def looked(right: float, down: float) -> torch.Tensor:
        moved = windows[:, :, 2:] + right * windows[:, :, 0:1] + down * windows[:, :, 1:2]
        grid = _grid(torch.cat([windows[:, :, :2], moved], dim=2), size_px)
        return F.grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    offsets = [(2 * i + 1 - samples) / (size_px * samples) for i in range(samples)]
    first, *others = product(offsets, offsets)
    total = looked(*first)
    for place in others:
        total += looked(*place)
    return (total if samples == 1 else total.div_(samples**2)).permute(0, 2, 3, 1)


def _grid(windows: torch.Tensor, size_px: int) -> torch.Tensor:
    """(B, 2, 3) → (B, size, size, 2): where each output pixel looks. As affine_grid, in half its time on a CPU."""
    # Said, since trainer.precision=64-true makes double the default.
    centres = (2 * torch.arange(size_px, dtype=windows.dtype, device=windows.device) + 1) / size_px - 1
    down = windows[:, :, 1:2] * centres + windows[:, :, 2:3]  # (B, 2, size)
    along = windows[:, :, 0:1] * centres
    return (down[:, :, :, None] + along[:, :, None, :]).permute(0, 2, 3, 1)


def _random_windows(augmentation: Augmentation, key: torch.Tensor) -> torch.Tensor:
    """(B, 2, 3) affine maps: crop, shift, zoom and rotation in one."""
    draw = counter_rng.uniform(key, 8)
    area = counter_rng.scale_to(*augmentation.crop_area, draw[:, 0])
    aspect = counter_rng.log_scale_to(*augmentation.crop_aspect, draw[:, 1])
    width = (area * aspect).sqrt().clamp(max=1.0)
    height = (area / aspect).sqrt().clamp(max=1.0)
    # The window's centre may go only so far that the galaxy, in the middle of the picture, stays inside:
    # a free crop of a tenth of the area often shows nothing but black sky.
    reach_x, reach_y = torch.minimum(1 - width, width), torch.minimum(1 - height, height)
    centre_x = reach_x * (2 * draw[:, 2] - 1) + 2 * augmentation.shift * (2 * draw[:, 3] - 1)
    centre_y = reach_y * (2 * draw[:, 4] - 1) + 2 * augmentation.shift * (2 * draw[:, 5] - 1)
    zoom = counter_rng.log_scale_to(*augmentation.zoom, draw[:, 6])
    angle = math.radians(augmentation.rotation_deg) * (2 * draw[:, 7] - 1)
    width, height = width / zoom, height / zoom
    row_x = torch.stack([width * angle.cos(), -height * angle.sin(), centre_x], dim=1)
    row_y = torch.stack([width * angle.sin(), height * angle.cos(), centre_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)
