"""The sections `data` and `split` of provenance.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from galaxy10.data.custom_datamodule import DataSummary, class_path
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.readers import Reader
from galaxy10.data.store import file_identity


def data_record(data: L.LightningDataModule, summary: DataSummary) -> dict[str, dict[str, Any]]:
    """Return the sections `data` and `split` of a data module and its summary.

    A custom data module has no file: `path` is its class, and `content` the hash of its split.
    """
    record: dict[str, Any] = {"class_names": list(summary.class_names)}
    split: dict[str, Any] = {"hash": summary.hash, "counts": summary.counts(), "notes": list(summary.notes)}
    if not isinstance(data, GalaxyData):
        side = summary.image_size
        record |= {"path": class_path(data), "name": "custom", "num_images": len(summary.table), "identity": None}
        record |= {
            "image_shape": side and [side, side, 3],
            "content": summary.hash,
            "pixel_mean": None,
            "pixel_std": None,
        }
        return {"data": record, "split": {**split, "protocol": "the data module's own", "split_seed": None}}
    settings, images = data.settings, data.store.images
    path = data.source.path if data.source is not None else data.store.path
    mean, std = data.training_statistics()
    record |= {"path": str(path.resolve()), "name": settings["name"], "num_images": len(images)}
    record |= {"image_shape": list(images.shape[1:]), "identity": file_identity(path), "content": data.store.content}
    record |= {"pixel_mean": mean, "pixel_std": std}
    if data.source is not None and data.source.class_ids != tuple(range(data.source.num_classes)):
        record["class_ids"] = list(data.source.class_ids)  # the numbers in the file, in the order of class_names
    if settings["reader"] is not None or (settings["path"] is not None and Path(settings["path"]) != path):
        record["read_from"] = _origin(settings)
    split |= {"protocol": _protocol(data, settings), "split_seed": settings["split_seed"]}
    split["train_fraction"] = settings["train_fraction"]
    if data.split.given is not None:
        split["table"] = data.split.given.record()
    if settings["num_folds"]:
        split |= {"num_folds": settings["num_folds"], "fold": settings["fold"], "folds_hash": data.split.folds_hash}
    return {"data": record, "split": split}


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input and the name of a reader."""
    reader = settings["reader"]
    given = reader if reader is None or isinstance(reader, Mapping) else Reader.from_config(reader).name
    return {"path": settings["path"], "reader": given}


def _protocol(data: GalaxyData, settings: Mapping[str, Any]) -> str:
    folds = settings["num_folds"]
    if data.split.given is not None and data.split.given.sha256:
        return data.split.given.name + (f", fold {settings['fold']} of {folds}" if folds else "")
    return f"fold {settings['fold']} of {folds}" if folds else settings["protocol"]
