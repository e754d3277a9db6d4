"""Data: from a labelled file to the batches that a network is trained on, under a split that can be shown."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from galaxy10.data.augment import Augmentation as Augmentation
    from galaxy10.data.augment import Preprocessing as Preprocessing
    from galaxy10.data.contract import DataFacts as DataFacts
    from galaxy10.data.contract import describe_datamodule as describe_datamodule
    from galaxy10.data.datamodule import GalaxyData as GalaxyData
    from galaxy10.data.folders import read_folders as read_folders
    from galaxy10.data.folders import read_table as read_table
    from galaxy10.data.split import Split as Split
    from galaxy10.data.split import make_split as make_split
    from galaxy10.data.store import Store as Store
    from galaxy10.data.variations import PerImage as PerImage

# Imported when first used: galaxy10.data.settings, which every command reads, must not wait for torch.
_HOMES = {
    "Augmentation": "augment",
    "DataFacts": "contract",
    "GalaxyData": "datamodule",
    "PerImage": "variations",
    "Preprocessing": "augment",
    "Split": "split",
    "Store": "store",
    "describe_datamodule": "contract",
    "make_split": "split",
    "read_folders": "folders",
    "read_table": "folders",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
