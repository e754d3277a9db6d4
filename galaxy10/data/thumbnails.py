"""Small images of a run, and the .npz files that hold them."""

from pathlib import Path

import numpy as np
import torch

from galaxy10.data.image_geometry import center_square
from galaxy10.files import atomic_write

THUMBNAIL_PX = 128


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz file of plain arrays atomically."""
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Return the central squares of images (n, H, W, 3) uint8 as (n, s, s, 3) uint8, with s at most 128 px."""
    if len(images) == 0:
        return np.empty((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), dtype=np.uint8)
    planes = center_square(torch.from_numpy(images)).permute(0, 3, 1, 2).float()
    if planes.shape[-1] > THUMBNAIL_PX:
        planes = torch.nn.functional.interpolate(
            planes, size=(THUMBNAIL_PX, THUMBNAIL_PX), mode="bilinear", antialias=True
        )
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
