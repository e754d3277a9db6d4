"""Divide groups of images into parts, so that every class has its share in each part."""

import numpy as np
import pandas as pd

from galaxy10.errors import Galaxy10Error


def check_class_sizes(
    labels: np.ndarray, groups: np.ndarray, class_names: tuple[str, ...], needed: int, field_arcsec: float
) -> None:
    """Check that every class of N images has at least `needed` groups.

    Args:
        field_arcsec: the side of most images, within which they are grouped.

    Raises:
        Galaxy10Error: a class has fewer; names the first.
    """
    for label, size in pd.Series(groups).groupby(labels).nunique().items():
        if size >= needed:
            continue
        few = f"class {class_names[int(str(label))]!r} has {size} separate galaxies, too few for {needed} subsets"
        images = int((labels == label).sum())
        if images >= needed:
            raise Galaxy10Error(
                f"{few}: its {images} images are in {size} group{'s' if size != 1 else ''}, because images within a "
                f"field of each other, here {field_arcsec:,.4g}″ (pxscale × size), of identical pixels or of one group "
                "in the file stay in one subset; if pxscale is wrong, type data.group_radius_arcsec=67 (the side of "
                "your images on the sky)"
            )
        raise Galaxy10Error(f"{few}; give it more images, merge it into another class, or leave it out of the file")


def rare_classes(labels: np.ndarray, groups: np.ndarray, num_classes: int, needed: int) -> list[int]:
    """Return the classes that N images have, but in fewer than `needed` groups."""
    groups_of = pd.Series(groups).groupby(labels).nunique().reindex(range(num_classes), fill_value=0).to_numpy()
    return np.flatnonzero((groups_of > 0) & (groups_of < needed)).tolist()


def assign_parts(
    groups: np.ndarray, labels: np.ndarray, num_classes: int, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return part numbers (N,): each group goes to a part drawn in proportion to the room left for its classes.

    So groups of one image fill every part exactly. Large groups are assigned first, while all parts have room.
    """
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    content = np.zeros((len(size), num_classes), dtype=np.int64)  # (G, C) images of each class in each group
    np.add.at(content, (group, labels), 1)
    missing = np.array([_targets(total, shares) for total in content.sum(axis=0)], dtype=float).T  # (P, C)
    order = rng.permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    part_of_group = np.empty(len(size), dtype=np.int64)
    for g in order:
        present = content[g] > 0
        room = np.clip(missing[:, present], 0, None) @ content[g, present]
        part = int(rng.choice(len(shares), p=room / room.sum()) if room.any() else rng.choice(len(shares), p=shares))
        part_of_group[g] = part
        missing[part] -= content[g]
    return part_of_group[group]


def _targets(total: int, shares: np.ndarray) -> np.ndarray:
    """Return integers (P,) that add up to total, by largest remainder, each at least one if total allows it."""
    wanted = total * shares
    targets = np.floor(wanted).astype(np.int64)
    for part in np.argsort(targets - wanted, kind="stable")[: total - targets.sum()]:
        targets[part] += 1
    if total >= len(shares):
        while (targets == 0).any():
            targets[np.argmin(targets)] += 1
            targets[np.argmax(targets)] -= 1
    return np.asarray(targets, dtype=np.int64)
