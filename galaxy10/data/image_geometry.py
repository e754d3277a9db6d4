"""The geometry of image batches: crop, resize, and sample at other places."""

from itertools import product

import torch
import torch.nn.functional as F


def center_square(images: torch.Tensor) -> torch.Tensor:
    """Return the central square (B, S, S, 3) of images (B, H, W, 3); the galaxy is in the centre."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def to_nchw(images: torch.Tensor) -> torch.Tensor:
    """Return images (B, H, W, 3) as (B, 3, H, W) on the same memory, which torch calls channels-last."""
    return images.permute(0, 3, 1, 2)


def resize(images: torch.Tensor, size_px: int, interpolation: str = "bilinear") -> torch.Tensor:
    """Resize images (B, S, S, 3) uint8 to (B, size, size, 3) uint8, antialiased.

    The result is rounded to whole grey levels, as in image libraries: on CPUs ten times as fast as floating point.
    Floats, as custom modules return them, stay floats.
    """
    if images.shape[1] == size_px:
        return images
    channels_first = to_nchw(images)
    if images.device.type == "cpu" or images.is_floating_point():
        channels_first = F.interpolate(channels_first, size=(size_px, size_px), mode=interpolation, antialias=True)
    else:  # CUDA has no antialiased filter for uint8
        channels_first = F.interpolate(
            channels_first.float(), size=(size_px, size_px), mode=interpolation, antialias=True
        )
        channels_first = channels_first.round().clamp(0, 255).to(torch.uint8)
    return channels_first.permute(0, 2, 3, 1)


def resample(images: torch.Tensor, affines: torch.Tensor, size_px: int) -> torch.Tensor:
    """Apply an affine map to each image: (B, S, S, 3) uint8, (B, 2, 3) → (B, size, size, 3) float32, 0–255.

    affines: maps from output to input coordinates, both from −1 to 1. If an output pixel covers several input pixels,
    as many samples along each axis are averaged. Outside the image the sky is mirrored.
    """
    per_pixel = images.shape[1] / size_px
    most = max(1, round(per_pixel))
    if most == 1:
        return _sample(images, affines, size_px, 1)
    steps = affines[:, :, :2].norm(dim=1).amax(dim=1) * per_pixel
    samples = steps.round().clamp(1, most)
    if images.device.type == "cpu":
        return _sample_some(images, affines, size_px, samples)
    return _sample_all(images, affines, size_px, samples, most)


def _sample_some(images: torch.Tensor, affines: torch.Tensor, size_px: int, samples: torch.Tensor) -> torch.Tensor:
    """Resample each image with its own number of samples (B,)."""
    out = torch.empty(len(images), size_px, size_px, 3, dtype=torch.float32)
    for number in sorted(set(samples.tolist())):
        these = samples == number
        out[these] = _sample(images[these], affines[these], size_px, int(number))
    return out


def _sample_all(
    images: torch.Tensor, affines: torch.Tensor, size_px: int, samples: torch.Tensor, most: int
) -> torch.Tensor:
    """Resample every image with every number of samples, and select: otherwise the host would wait for the GPU."""
    out = _sample(images, affines, size_px, most)
    for number in range(1, most):
        fewer = _sample(images, affines, size_px, number)
        out = torch.where((samples == number)[:, None, None, None], fewer, out)
    return out


def _sample(images: torch.Tensor, affines: torch.Tensor, size_px: int, samples: int) -> torch.Tensor:
    """Resample images (B, S, S, 3) to (B, size, size, 3) float32 as the mean of samples × samples points per pixel."""
    channels_first = to_nchw(images).to(torch.float32, memory_format=torch.contiguous_format)

    def at_offset(right: float, down: float) -> torch.Tensor:
        moved = affines[:, :, 2:] + right * affines[:, :, 0:1] + down * affines[:, :, 1:2]
        grid = _grid(torch.cat([affines[:, :, :2], moved], dim=2), size_px)
        return F.grid_sample(channels_first, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    offsets = [(2 * i + 1 - samples) / (size_px * samples) for i in range(samples)]
    first, *others = product(offsets, offsets)
    total = at_offset(*first)
    for place in others:
        total += at_offset(*place)
    return (total if samples == 1 else total.div_(samples**2)).permute(0, 2, 3, 1)


def _grid(affines: torch.Tensor, size_px: int) -> torch.Tensor:
    """Return the sampling grid (B, size, size, 2) of affine maps (B, 2, 3): affine_grid in half its time on a CPU."""
    # The dtype is explicit, since trainer.precision=64-true makes double the default.
    centres = (2 * torch.arange(size_px, dtype=affines.dtype, device=affines.device) + 1) / size_px - 1
    down = affines[:, :, 1:2] * centres + affines[:, :, 2:3]  # (B, 2, size)
    along = affines[:, :, 0:1] * centres
    return (down[:, :, :, None] + along[:, :, None, :]).permute(0, 2, 3, 1)
