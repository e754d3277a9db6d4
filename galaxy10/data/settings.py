"""Allowed values of the settings of `data` and `augment`. Imports neither torch nor the data libraries."""

import os
from collections.abc import Mapping
from typing import Any

from galaxy10.config.fields import (
    Field,
    anything,
    boolean,
    check_fields,
    choice,
    integer,
    name_list,
    number,
    one_of,
    optional,
    pair,
    text,
)
from galaxy10.errors import Galaxy10Error

GALAXY_DATA = "galaxy10.data.GalaxyData"

_COMPONENTS = Field(
    lambda v: isinstance(v, list) and all(isinstance(x, Mapping) and isinstance(x.get("_target_"), str) for x in v),
    "a list of modules, as in '[{_target_: torchvision.transforms.v2.GaussianBlur, kernel_size: 3}]'",
)

FIELDS: dict[str, Field] = {
    "data._target_": text(),
    "data._recursive_": Field(lambda v: v is False, "false (GalaxyData builds its own parts)"),
    "data.name": choice("galaxy10", "hdf5", "simulated"),
    "data.path": optional(text()),
    "data.dir": text(),
    "data.variant": optional(choice("full", "no_duplicates")),
    "data.class_names": optional(name_list()),
    "data.store_dir": optional(text()),
    "data.reader": optional(
        Field(lambda v: isinstance(v, Mapping) and "_target_" in v, "a function, as in '{_target_: mypkg.read}'")
    ),
    "data.reader._target_": text(),
    "data.reader.*": anything(),
    "data.vote_columns": optional(name_list()),
    "data.soft_labels": one_of(boolean(), choice("auto")),
    "data.protocol": choice("default", "baseline_80_20", "baseline_90_10", "file"),
    "data.split_seed": integer(0, 2**31 - 1),
    "data.num_folds": optional(integer(3, 100)),
    "data.fold": optional(integer(0)),
    "data.duplicates": choice("drop", "first", "keep"),
    "data.blanks": choice("drop", "keep"),
    "data.group_radius_arcsec": optional(number(0, 648_000)),
    "data.split_file": optional(text()),
    "data.train_fraction": optional(number(0, 1, above=True)),
    "data.balance": choice("none", "soft", "dihedral", "weighted"),
    "data.batch_size": integer(2, 100_000),
    "data.eval_batch_size": integer(1, 100_000),
    "data.cache_on_device": one_of(boolean(), choice("auto")),
    "data.num_images": integer(30, 10_000_000),
    "data.image_px": integer(16, 1024),
    "data.simulation_seed": integer(0, 2**31 - 1),
    "augment.name": text(),
    "augment.dihedral": choice("none", "horizontal_flip", "all"),
    "augment.dihedral_schedule": choice("independent", "cycle"),
    "augment.crop_area": pair(0, 1),
    "augment.crop_aspect": pair(0),
    "augment.rotation_deg": number(0, 180),
    "augment.zoom": pair(0),
    "augment.shift": number(0, 0.5),
    "augment.noise": number(0, 100),
    "augment.before": _COMPONENTS,
    "augment.after": _COMPONENTS,
}


def uses_galaxy_data(data: Mapping[str, Any]) -> bool:
    """Return whether a `data` section describes GalaxyData and not a custom LightningDataModule."""
    return data.get("_target_", GALAXY_DATA) in (GALAXY_DATA, "galaxy10.data.datamodule.GalaxyData")


def galaxy_data_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return GalaxyData's arguments as the `data` section of a configuration, checked.

    Args:
        arguments: all arguments of GalaxyData; those that are no settings of `data` are left out.

    Raises:
        Galaxy10Error: a value is not allowed, or values do not go together.
    """
    data = {key: value for key, value in arguments.items() if f"data.{key}" in FIELDS}
    for key in ("path", "dir", "store_dir", "split_file"):
        data[key] = os.fspath(data[key]) if data[key] is not None else None
    for key in ("class_names", "vote_columns"):
        if data.get(key) is not None:
            data[key] = [*data[key]]
    data["name"] = data["name"] or ("galaxy10" if data["path"] is None else "hdf5")
    if data["name"] == "galaxy10":
        data["variant"] = data["variant"] or "full"
    check_fields({f"data.{key}": value for key, value in data.items() if key != "reader"}, FIELDS)
    check_settings(data)
    return data


def check_schedule(dihedral: str, schedule: str) -> None:
    """Check that there are flips for the schedule of an augmentation to order.

    Raises:
        Galaxy10Error: there are none.
    """
    if schedule == "cycle" and dihedral == "none":
        raise Galaxy10Error(
            "augment.dihedral_schedule=cycle orders flips and turns, and augment.dihedral=none makes none; type "
            "augment.dihedral=all"
        )


def check_settings(data: Mapping[str, Any]) -> None:
    """Check that GalaxyData's settings go together: none is missing, and none would be ignored.

    Args:
        data: the `data` section of a configuration, with all settings of GalaxyData.

    Raises:
        Galaxy10Error: settings do not go together; the message names the one to change.
    """
    name = data["name"]
    if name == "hdf5" and data["path"] is None:
        raise Galaxy10Error("data=hdf5 needs a file: add data.path=FILE.h5")
    if name == "simulated" and data["path"] is not None:
        raise Galaxy10Error("data=simulated makes its own file; for your own file, type data=hdf5 data.path=FILE.h5")
    if name == "galaxy10" and data["variant"] is None:
        raise Galaxy10Error("data=galaxy10 comes in two variants; type data.variant=full or data.variant=no_duplicates")
    if name != "galaxy10" and data["variant"] is not None:
        raise Galaxy10Error(f"data.variant belongs to data=galaxy10; leave it out with data={name}")
    if name != "hdf5" and data.get("reader") is not None:
        raise Galaxy10Error(f"data.reader reads data.path and belongs to data=hdf5; leave it out with data={name}")
    if name != "hdf5" and data.get("vote_columns") is not None:
        raise Galaxy10Error(f"data.vote_columns are columns of data.path and belong to data=hdf5; not to data={name}")
    if data.get("split_file") is not None and data["protocol"] != "default":
        raise Galaxy10Error(
            f"data.split_file has the subsets, so data.protocol={data['protocol']} is not used; leave one of them out"
        )
    folds, fold = data["num_folds"], data["fold"]
    if (folds is None) != (fold is None):
        raise Galaxy10Error("data.num_folds and data.fold go together: data.num_folds=5 data.fold=0")
    if folds is not None and fold is not None and fold >= folds:
        raise Galaxy10Error(f"data.fold={fold}, but with data.num_folds={folds} folds count from 0 to {folds - 1}")
