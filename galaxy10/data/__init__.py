"""Data: labelled files, splits, and the batches that a network is trained on."""

from typing import TYPE_CHECKING

from galaxy10.lazy import lazy_attributes

if TYPE_CHECKING:
    from galaxy10.data.augment import Augmentation, Preprocessing
    from galaxy10.data.custom_datamodule import DataSummary, describe_datamodule
    from galaxy10.data.custom_transforms import PerImage
    from galaxy10.data.datamodule import GalaxyData
    from galaxy10.data.folders import read_folders, read_table
    from galaxy10.data.split import Split, make_split
    from galaxy10.data.store import Store

__all__ = [
    "Augmentation",
    "DataSummary",
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
__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Augmentation": "augment",
        "DataSummary": "custom_datamodule",
        "GalaxyData": "datamodule",
        "PerImage": "custom_transforms",
        "Preprocessing": "augment",
        "Split": "split",
        "Store": "store",
        "describe_datamodule": "custom_datamodule",
        "make_split": "split",
        "read_folders": "folders",
        "read_table": "folders",
    },
)
