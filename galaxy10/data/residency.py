"""Where the training galaxies wait for their batch: in the host's memory map, or all of them on the device."""

import numpy as np
import torch

from galaxy10.data.store import forget_pages
from galaxy10.errors import Galaxy10Error

CHOICES = ("auto", "host", "device")
COMFORTABLE_SHARE = 0.25  # of the device's free memory; the rest is the network's
_UPLOADED_AT_ONCE = 256  # galaxies


def choose_residence(asked: str, num_bytes: int, device: torch.device) -> str:
    """host or device, for a training split of so many bytes of pixels.

    auto is `device` on a CUDA GPU where the split takes at most a quarter of the free memory. Each process of a run
    holds the whole split, as every epoch deals it out anew.

    Raises:
        Galaxy10Error: device was asked for and has no room.
    """
    if device.type != "cuda":
        return "host" if asked == "auto" else asked
    free = torch.cuda.mem_get_info(device)[0]
    if asked == "device" and num_bytes > free:
        raise Galaxy10Error(
            f"data.residency=device: the training galaxies take {num_bytes / 2**30:.2f} GiB, {device} has "
            f"{free / 2**30:.2f} GiB free; type data.residency=auto"
        )
    if asked != "auto":
        return asked
    return "device" if num_bytes <= COMFORTABLE_SHARE * free else "host"


def upload(images: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Rows (n,) of the store's array (N, H, W, 3) as one uint8 tensor (n, H, W, 3) on a device."""
    resident = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _UPLOADED_AT_ONCE):
        part = slice(start, start + _UPLOADED_AT_ONCE)
        resident[part] = torch.from_numpy(images[rows[part]]).to(device)
    forget_pages(images)
    return resident
