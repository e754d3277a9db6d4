"""The eight flips and quarter turns of square images, which move pixels without interpolation.

A flip or turn has a code from 0 to 7: bit 1 mirrors left and right, bit 2 top and bottom, bit 4 swaps rows and columns,
in this order.
"""

import numpy as np
import torch

DIHEDRAL = {"none": 0b000, "horizontal_flip": 0b001, "all": 0b111}


def apply_dihedral(images: torch.Tensor, dihedral: torch.Tensor) -> torch.Tensor:
    """Flip and turn square images (B, S, S, 3) exactly, each by its dihedral code (B,) 0–7.

    Bit 1 mirrors left and right, bit 2 top and bottom, bit 4 swaps rows and columns, in this order.
    """
    if images.device.type == "cpu":
        turned_images = np.empty(images.shape, images.numpy().dtype)
        for image, out, bits in zip(images.numpy(), turned_images, dihedral.tolist(), strict=True):
            image = image[:: -1 if bits & 2 else 1, :: -1 if bits & 1 else 1]
            out[:] = image.transpose(1, 0, 2) if bits & 4 else image
        return torch.from_numpy(turned_images)
    codes = dihedral[:, None, None, None]
    images = torch.where((codes & 1) > 0, images.flip(2), images)
    images = torch.where((codes & 2) > 0, images.flip(1), images)
    return torch.where((codes & 4) > 0, images.transpose(1, 2), images)


def compose_dihedral(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the dihedral codes (B,) that are equal to applying `first` and then `second`."""
    swapped = (second & 4) | ((second & 1) << 1) | ((second & 2) >> 1)
    return first ^ torch.where((first & 4) > 0, swapped, second)


def dihedral_matrices(dihedral: torch.Tensor) -> torch.Tensor:
    """Return matrices (B, 2, 2) from positions (x, y) in the turned image to those in the original, for codes (B,)."""
    sign_x, sign_y = (1.0 - 2.0 * ((dihedral & bit) > 0).float() for bit in (1, 2))
    swaps = ((dihedral & 4) > 0).float()
    rows = [sign_x * (1 - swaps), sign_x * swaps, sign_y * swaps, sign_y * (1 - swaps)]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def tta_views(inputs: torch.Tensor, num_views: int) -> list[torch.Tensor]:
    """Return the first of the eight flips and quarter turns of inputs (B, 3, S, S), for test-time augmentation.

    num_views: 1 (the inputs unchanged), 2, 4 or 8 (all flips and quarter turns).
    """
    flips = [inputs, inputs.flip(3), inputs.flip(2), inputs.flip((2, 3))]
    return [*flips, *(x.transpose(2, 3) for x in flips)][:num_views]
