"""Check a custom LightningDataModule, and summarise its images.

Its batches are {"inputs": (B, 3, S, S) float32, "labels": (B,) whole numbers[, "rows": (B,)]}, and it has
`class_names`. The rest is derived: training images per class, row numbers, and a hash of the split.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.numbering import dataset_indices, number_rows, sequential_batches
from galaxy10.data.store import Store
from galaxy10.data.subsets import SUBSETS
from galaxy10.errors import Galaxy10Error

_NO_STORE = (
    "the data module has no store of its images: the split's hash covers labels and order, duplicates are not "
    "searched, misclassified images are not shown, and there is no out-of-distribution score"
)
_NO_ROWS = "the data module's batches have no rows: images are numbered in the order of its loaders"
_EXPECTED = '{"inputs": (B, 3, S, S) float32, "labels": (B,) whole numbers[, "rows": (B,)]}'


@dataclass(frozen=True)
class DataSummary:
    """A summary of a data module's images.

    Attributes:
        class_names: names in label order.
        class_counts: (C,) int64, of the training images.
        image_size: px of the file's images, or of the inputs; None if only a hook of the data module makes the inputs.
        table: as Split.table, one line per image.
        hash: of the split.
        notes: remarks for the report.
    """

    class_names: tuple[str, ...]
    class_counts: np.ndarray
    image_size: int | None
    table: pd.DataFrame
    hash: str
    notes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    def counts(self) -> dict[str, int]:
        """Return the number of images per subset, the dropped included."""
        found = self.table["subset"].value_counts()
        return {subset: int(found.get(subset, 0)) for subset in (*SUBSETS, "dropped")}


def check_datamodule(data: L.LightningDataModule) -> None:
    """Check the class names and the first training batch of a data module after its setup.

    Raises:
        Galaxy10Error: there are no class names or no training batches, or batches have another form.
    """
    if not isinstance(data, GalaxyData):
        _check(data)


def describe_datamodule(data: L.LightningDataModule) -> DataSummary:
    """Return the summary of a data module after its setup, and add missing rows to its batches.

    The labels of a custom data module come from its method `labels(subset)` (n,) if it has one; otherwise its loaders
    are read once. Missing rows are the order of its loaders; its later batches have them.

    Raises:
        Galaxy10Error: see check_datamodule; also labels outside the classes, or several images with one row.
    """
    if isinstance(data, GalaxyData):
        size, split = min(data.store.images.shape[1:3]), data.split
        return DataSummary(data.class_names, data.class_counts, size, split.table, split.hash, split.notes)
    who = class_path(data)
    names, image_size, numbered = _check(data)
    parts = {subset: _labels_and_rows(data, subset, len(names), numbered) for subset in SUBSETS}
    found, start = {}, 0
    for subset, (labels, rows) in parts.items():
        row = start + np.arange(len(labels)) if rows is None else rows
        found[subset] = pd.DataFrame({"row": row, "subset": subset, "label": labels})
        start += len(labels)
    table = pd.concat(found.values(), ignore_index=True)
    if table["row"].duplicated().any():
        raise Galaxy10Error(
            f"{who}: several images have row {table['row'][table['row'].duplicated()].iloc[0]}; give each image of "
            "all subsets its own row, or leave rows out"
        )
    if not numbered:
        number_rows(
            data, {subset: _rows_by_index(data, subset, part["row"].to_numpy()) for subset, part in found.items()}
        )
    counts = getattr(data, "class_counts", None)
    if counts is None:
        counts = np.bincount(parts["train"][0], minlength=len(names))
    table = table.assign(fold=-1, group=table["row"], reason="")[["row", "subset", "fold", "group", "reason", "label"]]
    notes = (_NO_STORE,) if numbered else (_NO_STORE, _NO_ROWS)
    return DataSummary(names, np.asarray(counts, np.int64), image_size, table, label_hash(table, names), notes)


def label_hash(table: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Return a hash of subsets, labels and rows: equal for the same data module on every machine."""
    codes = table["subset"].map({name: number for number, name in enumerate((*SUBSETS, "dropped"))}).to_numpy(np.uint8)
    digest = hashlib.sha256("\n".join(class_names).encode())
    for column in (codes, table["label"].to_numpy("<i8"), table["row"].to_numpy("<i8")):
        digest.update(column.tobytes())
    return digest.hexdigest()[:16]


def _labels_and_rows(
    data: L.LightningDataModule, subset: str, num_classes: int, numbered: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return labels (n,) of a subset in the order of sequential_batches, and its rows if the batches have them."""
    who, loader = class_path(data), _loader(data, subset)
    given = None if numbered else getattr(data, "labels", None)
    if loader is None:
        labels, rows = np.zeros(0, np.int64), np.zeros(0, np.int64)
    elif callable(given):
        labels, rows = np.asarray(given(subset), dtype=np.int64), None
    else:
        if not _is_sized(loader):
            raise Galaxy10Error(
                f"{who}: its {subset} loader has no length, and may be endless; give the data module a method "
                "labels(subset) that returns all labels in order"
            )
        with preserved_rng_state():
            found = [(batch["labels"], batch.get("rows")) for batch in sequential_batches(loader)]
        if not found or any((row is None) == numbered for _, row in found):
            raise Galaxy10Error(f"{who}: its {subset} loader is empty, or only some of its batches have rows")
        labels = np.concatenate([np.asarray(part, dtype=np.int64) for part, _ in found])
        rows = np.concatenate([np.asarray(part, dtype=np.int64) for _, part in found]) if numbered else None
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise Galaxy10Error(f"{who}: its {subset} images have label {wrong}, but there are {num_classes} class names")
    return labels, rows


def _rows_by_index(data: L.LightningDataModule, subset: str, rows: np.ndarray) -> np.ndarray:
    """Return rows (n,), in the order of sequential_batches, by index in the data set; −1 for indices not in use."""
    loader = _loader(data, subset)
    with preserved_rng_state():
        indices = dataset_indices(loader)
    if indices is None:
        return rows
    if len(indices) != len(rows):
        raise Galaxy10Error(
            f"{class_path(data)}: {len(rows)} labels for the {len(indices)} {subset} images of its loader"
        )
    by_index = np.full(len(loader.dataset), -1, dtype=np.int64)
    by_index[indices] = rows
    return by_index


def _is_sized(loader: Any) -> bool:
    try:
        return len(loader) >= 0
    except (TypeError, NotImplementedError):
        return False


def _loader(data: L.LightningDataModule, subset: str) -> Any:
    method = f"{subset}_dataloader"
    if not is_overridden(method, data, L.LightningDataModule):
        return None
    loader = getattr(data, method)()
    if isinstance(loader, list | tuple | Mapping):
        raise Galaxy10Error(f"{class_path(data)}: {method} returns {type(loader).__name__}; expected one loader")
    return loader


def _check(data: L.LightningDataModule) -> tuple[tuple[str, ...], int | None, bool]:
    """Return class names, the size of the inputs, and whether batches have rows."""
    who = class_path(data)
    names = _class_names(data, who)
    loader = _loader(data, "train")
    if loader is None:
        raise Galaxy10Error(f"{who} has no train_dataloader; a run needs one")
    with preserved_rng_state():
        batch = next(iter(sequential_batches(loader)), None)
    if batch is None:
        raise Galaxy10Error(f"{who}: its training loader is empty")
    return names, _check_batch(batch, data, names, who), "rows" in batch


def store_of(data: L.LightningDataModule) -> Store | None:
    """Return the store of a data module's images; None for a custom data module."""
    return data.store if isinstance(data, GalaxyData) else None


# --- the checks -------------------------------------------------------------------------------------------------------


def class_path(data: Any) -> str:
    """Return the dotted name of a data module's class."""
    return f"{type(data).__module__}.{type(data).__qualname__}"


def _class_names(data: Any, who: str) -> tuple[str, ...]:
    given = getattr(data, "class_names", None)
    if given is None or isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise Galaxy10Error(f"{who} has no class_names; expected a list of names in label order")
    names = tuple(str(name) for name in given)
    if len(names) < 2 or len(set(names)) != len(names):
        raise Galaxy10Error(
            f"{who}: class_names are {', '.join(names) or 'empty'}; expected at least two, all different"
        )
    return names


def _check_batch(batch: Any, data: Any, names: Sequence[str], who: str) -> int | None:
    """Return the size of a batch's inputs; None if a hook makes them later."""
    if not isinstance(batch, Mapping):
        raise Galaxy10Error(f"{who}: its batches are of type {type(batch).__name__}; expected {_EXPECTED}")
    labels: Any = batch.get("labels")
    inputs: Any = batch.get("inputs")
    rows: Any = batch.get("rows")
    made_later = inputs is None and is_overridden("on_after_batch_transfer", data, L.LightningDataModule)
    for key, value in (("labels", labels), ("inputs", inputs)):
        if not isinstance(value, torch.Tensor) and not (key == "inputs" and made_later):
            have = ", ".join(map(str, batch)) or "nothing"
            what = f"no `{key}`" if value is None else f"`{key}` of type {type(value).__name__}"
            raise Galaxy10Error(f"{who}: its batches have {what} (they hold {have}); expected {_EXPECTED}")
    for key, value in (("labels", labels), ("rows", rows)):
        if value is not None and (value.ndim != 1 or value.is_floating_point() or value.dtype == torch.bool):
            raise Galaxy10Error(f"{who}: `{key}` is {tuple(value.shape)} {value.dtype}; expected (B,) whole numbers")
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise Galaxy10Error(f"{who}: a batch has label {wrong}; there are {len(names)} class names")
    if made_later:
        return None
    fits = inputs.ndim == 4 and inputs.shape[1] == 3 and inputs.shape[2] == inputs.shape[3]
    if not fits or not inputs.is_floating_point() or len(inputs) != len(labels):
        raise Galaxy10Error(
            f"{who}: `inputs` is {tuple(inputs.shape)} {inputs.dtype} for {len(labels)} labels; expected (B, 3, S, S) "
            "float32"
        )
    return int(inputs.shape[-1])


@contextmanager
def preserved_rng_state() -> Iterator[None]:
    """Restore the global generators of torch, numpy and `random` on exit, so that reading data changes no run."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - theirs
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
