"""Check and build the `data` section of a configuration. Imports torch only to build."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from galaxy10.config.building import HYDRA_KEYS, TARGET, accepts, build, check_signatures, resolve
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.settings import check_schedule, check_settings, uses_galaxy_data
from galaxy10.data.source import check_source
from galaxy10.data.split_table import check_split_file
from galaxy10.data.votes import check_soft_labels
from galaxy10.errors import Galaxy10Error

if TYPE_CHECKING:
    import lightning as L

_SUPPLIED = frozenset(("augmentation", "seed"))


def check_data(data: Mapping[str, Any], augment: Mapping[str, Any]) -> SourceFile | None:
    """Check the sections `data` and `augment` before anything slow is done.

    Returns:
        The checked file; None if the file does not exist yet, or a custom data module has none.

    Raises:
        Galaxy10Error: a setting or the file is wrong.
    """
    check_schedule(augment.get("dihedral", "none"), augment.get("dihedral_schedule", "independent"))
    if uses_galaxy_data(data):
        check_settings(data)
        source = check_source(data)
        if source is not None:
            check_soft_labels(data.get("soft_labels", "auto"), source.table, source.path)
        if data["split_file"] is not None:
            check_split_file(Path(data["split_file"]), source.table if source is not None else None)
        return source
    check_signatures(data, "data", _SUPPLIED)
    augmented = augment.get("name") != "none" or augment.get("before") or augment.get("after")
    if augmented and not accepts(resolve(data[TARGET], f"data.{TARGET}"), "augmentation"):
        raise Galaxy10Error(
            f"data={data[TARGET]} takes no argument `augmentation`, so augment is not used; type augment=none"
        )
    return None


def build_datamodule(data: Mapping[str, Any], augment: Mapping[str, Any], seed: int) -> "L.LightningDataModule":
    """Build the data module of a configuration.

    A custom one is given `augmentation` (the section `augment`, a mapping) and `seed` if its signature names them.

    Raises:
        Galaxy10Error: the data module cannot be built, or is no LightningDataModule.
    """
    import lightning as L

    from galaxy10.data.datamodule import GalaxyData
    from galaxy10.data.numbering import make_setup_repeatable

    if uses_galaxy_data(data):
        settings = {key: value for key, value in data.items() if key not in HYDRA_KEYS}
        return GalaxyData(**settings, augmentation=augment, seed=seed)
    built = build(data, {"augmentation": dict(augment), "seed": seed}, "data")
    if not isinstance(built, L.LightningDataModule):
        raise Galaxy10Error(f"data._target_={data[TARGET]} builds a {type(built).__name__}; name a LightningDataModule")
    if not isinstance(built, GalaxyData):
        make_setup_repeatable(built)
    return built


def setup_datamodule(data: "L.LightningDataModule", lock: Path) -> None:
    """Call prepare_data and setup of a data module before there is a Trainer.

    Args:
        lock: a lock file, with which the processes of a run prepare a custom data module one after another;
            GalaxyData has locks of its own.
    """
    from galaxy10.data.datamodule import GalaxyData

    if isinstance(data, GalaxyData):
        data.prepare_data()
    else:
        with FileLock(lock):
            data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
