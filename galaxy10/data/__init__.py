"""Data: from a labelled file to the batches that a network is trained on, under a split that can be shown."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_names

if TYPE_CHECKING:
    from galaxy10.data.augment import Augmentation, Preprocessing
    from galaxy10.data.contract import DataFacts, describe_datamodule
    from galaxy10.data.datamodule import GalaxyData
    from galaxy10.data.folders import read_folders, read_table
    from galaxy10.data.split import Split, make_split
    from galaxy10.data.store import Store
    from galaxy10.data.variations import PerImage

__all__ = [
    "Augmentation",
    "DataFacts",
    "GalaxyData",
    "PerImage",
    "Preprocessing",
    "Split",
    "Store",
    "describe_datamodule",
    "make_split",
    "read_folders",
    "read_table",
]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
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
    },
)
