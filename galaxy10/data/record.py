"""What a run records of its data: the sections `data` and `split` of provenance.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from galaxy10.data.contract import DataFacts, name_of
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.readers import Reader
from galaxy10.data.store import file_identity


def data_record(data: L.LightningDataModule, facts: DataFacts) -> dict[str, dict[str, Any]]:
    """Return the sections `data` and `split` of a data module that has been described.

    Of one of somebody's own there is no file: `path` is its class, `content` its split's hash.
    """
    record: dict[str, Any] = {"class_names": list(facts.class_names)}
    split = {"hash": facts.hash, "counts": facts.counts(), "notes": list(facts.notes)}
    if not isinstance(data, GalaxyData):
        side = facts.image_size
        record |= {"path": name_of(data), "name": "own", "num_images": len(facts.table), "identity": None}
        record |= {
            "image_shape": side and [side, side, 3],
            "content": facts.hash,
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
    if settings["reader"] is not None or (settings["path"] is not None and Path(settings["path"]) != path):
        record["read_from"] = _origin(settings)
    return {"data": record, "split": {**split, "protocol": _protocol(settings), "split_seed": settings["split_seed"]}}


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader has read, and which."""
    reader = settings["reader"]
    given = reader if reader is None or isinstance(reader, Mapping) else Reader.of(reader).name
    return {"path": settings["path"], "reader": given}


def _protocol(settings: Mapping[str, Any]) -> str:
    folds = settings["num_folds"]
    return f"fold {settings['fold']} of {folds}" if folds else settings["protocol"]
