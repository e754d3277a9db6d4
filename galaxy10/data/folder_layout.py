"""The usual layouts of folders of labelled images: class folders, and split folders that hold class folders."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from galaxy10.data.inputs import images_below
from galaxy10.data.labels import shortened
from galaxy10.data.subsets import subset_named
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error


@dataclass(frozen=True)
class LabelledFolder:
    """The images of a folder.

    labels: (N,) int64, positions in `names`. subsets: train, val or test of each image; None if there is no split.
    """

    paths: list[str]
    labels: np.ndarray
    names: list[str]
    subsets: list[str] | None


# A listing of millions of files takes minutes; the check before a training hands it to the conversion.
_kept: dict[tuple[str, int | None], tuple[dict[str, int], LabelledFolder]] = {}


def find_classes(origin: Path, class_level: int | None = None, *, keep: bool = False) -> LabelledFolder:
    """Return the images of a folder with class folders, or with split folders (train, val, test) of class folders.

    Args:
        class_level: 1: the folders in `origin` are the classes; 2: the folders inside these are; None: 2 if the folders
            in `origin` are named as subsets, else 1.
        keep: keep the listing for the next call, which uses it if no folder has changed.

    Raises:
        Galaxy10Error: there are fewer than two classes, or the folders could mean several things.
    """
    if class_level not in (None, 1, 2):
        raise Galaxy10Error(
            f"class_level={class_level} is not allowed; expected 1 (class folders) or 2 (one level deeper)"
        )
    kept = _kept.pop((str(origin), class_level), None)
    if kept is not None and _unchanged(kept[0]):
        return kept[1]
    changed = {str(origin): origin.stat().st_mtime_ns}
    folders = sorted(p for p in origin.iterdir() if p.is_dir() and not p.name.startswith("."))
    inside = {folder.name: list(images_below(folder, changed)) for folder in folders}
    inside = {name: paths for name, paths in inside.items() if paths}
    below = {name: [_first_folder(path, origin / name) for path in paths] for name, paths in inside.items()}
    level = class_level or _level(origin, below)
    upper = [name for name, paths in inside.items() for _ in paths]
    lower = [name for found in below.values() for name in found]
    if level == 2 and "" in lower:
        raise Galaxy10Error(f"{origin}/{upper[lower.index('')]} has images outside class folders; move them into one")
    classes, sets = (upper, lower) if level == 1 else (lower, upper)
    names = sorted(set(classes))
    if len(names) < 2:
        raise Galaxy10Error(
            f"{origin} has {len(names)} folders with images in them; make one folder per class, or give a table with "
            "the columns path and label"
        )
    subsets = [subset_named(name) for name in sets]
    order = {name: number for number, name in enumerate(names)}
    found = LabelledFolder(
        [path for paths in inside.values() for path in paths],
        np.array([order[name] for name in classes], dtype=np.int64),
        [decode_text(name) for name in names],
        [subset for subset in subsets if subset] if all(subsets) else None,
    )
    if keep:
        _kept[str(origin), class_level] = changed, found
    return found


def _unchanged(changed: Mapping[str, int]) -> bool:
    """Return whether no file was added to folders or removed from them since these modification times (ns)."""
    try:
        return all(os.stat(folder).st_mtime_ns == before for folder, before in changed.items())
    except OSError:
        return False


def _first_folder(path: str, folder: Path) -> str:
    """Return the name of the folder directly in `folder` that holds a file; an empty text if `folder` itself does."""
    return parts[0] if len(parts := Path(path).relative_to(folder).parts) > 1 else ""


def _level(origin: Path, below: Mapping[str, Sequence[str]]) -> int:
    """Return the level of the class folders, from the names of folders in folders."""
    as_subsets = [name for name in below if subset_named(name)]
    inner = [set(names) for names in below.values()]
    if not as_subsets:
        same = len(inner) > 1 and all(names == inner[0] for names in inner) and len(inner[0]) > 1
        if same and "" not in inner[0] and not all(map(subset_named, inner[0])):
            raise _ambiguous(origin, list(below), sorted(inner[0]), "parts of the data, each with all classes")
        return 1
    others = [name for name in below if name not in as_subsets]
    if others:
        raise _ambiguous(
            origin, list(below), sorted(set().union(*inner) - {""}), f"subsets, and {shortened(others)} is not"
        )
    if any("" in names for names in inner):
        raise _ambiguous(origin, list(below), [], "subsets that hold images without classes")
    return 2


def _ambiguous(origin: Path, upper: list[str], lower: list[str], other: str) -> Galaxy10Error:
    deeper = f"; or the classes are {shortened(lower)} (type class level 2)" if lower else ""
    return Galaxy10Error(
        f"the folders {shortened(upper)} in {origin} could be classes (type class level 1) or {other}{deeper}: pack "
        "with --class-level, train with ++data.reader._target_=galaxy10.data.read_folders ++data.reader.class_level=…, "
        "or give a table with the columns path, label and subset"
    )
