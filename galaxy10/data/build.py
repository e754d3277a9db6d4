"""The `data` section of a configuration: checked at the door, and built. Imports torch only to build."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from galaxy10.config.building import HYDRA_WORDS, TARGET, build, check_signatures, resolve, takes
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.settings import check_settings, is_own
from galaxy10.data.source import check_source
from galaxy10.errors import Galaxy10Error

if TYPE_CHECKING:
    import lightning as L

_SUPPLIED = frozenset(("augmentation", "seed"))


def check_data(data: Mapping[str, Any], augment: Mapping[str, Any]) -> SourceFile | None:
    """Check the sections `data` and `augment` before anything heavy is done.

    Returns:
        What can be said of the file; None where it is still to be made, or a data module of somebody's own has none.

    Raises:
        Galaxy10Error: the first thing that does not fit.
    """
    if is_own(data):
        check_settings(data)
        return check_source(data)
    check_signatures(data, "data", _SUPPLIED)
    varied = augment.get("name") != "none" or augment.get("before") or augment.get("after")
    if varied and not takes(resolve(data[TARGET], f"data.{TARGET}"), "augmentation"):
        raise Galaxy10Error(
            f"data={data[TARGET]} varies its images by itself (it takes no argument `augmentation`); type augment=none"
        )
    return None


def build_datamodule(data: Mapping[str, Any], augment: Mapping[str, Any], seed: int) -> "L.LightningDataModule":
    """Build the data module of a configuration.

    One of somebody's own is given `augmentation` (the section `augment`, a mapping) and `seed` if it asks for them.

    Raises:
        Galaxy10Error: it cannot be built, or is no LightningDataModule.
    """
    import lightning as L

    from galaxy10.data.datamodule import GalaxyData
    from galaxy10.data.numbering import repeat_setup

    if is_own(data):
        settings = {key: value for key, value in data.items() if key not in HYDRA_WORDS}
        return GalaxyData(**settings, augmentation=augment, seed=seed)
    built = build(data, {"augmentation": dict(augment), "seed": seed}, "data")
    if not isinstance(built, L.LightningDataModule):
        raise Galaxy10Error(f"data._target_={data[TARGET]} makes a {type(built).__name__}, no LightningDataModule")
    if not isinstance(built, GalaxyData):
        repeat_setup(built)
    return built


def set_up(data: "L.LightningDataModule", lock: Path) -> None:
    """Prepare and set up a data module before there is a Trainer.

    Args:
        lock: a file by which the processes of a run prepare one after another, as Lightning would let only one; ours
            has locks of its own.
    """
    from galaxy10.data.datamodule import GalaxyData

    if isinstance(data, GalaxyData):
        data.prepare_data()
    else:
        with FileLock(lock):
            data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
