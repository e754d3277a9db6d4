"""The split of an experiment: of a split table, the published one, or drawn."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from galaxy10.data.published_split import published_split
from galaxy10.data.split import Split, make_split
from galaxy10.data.split_table import read_split_file
from galaxy10.data.store import Store

_SETTINGS = ("protocol", "split_seed", "num_folds", "fold", "duplicates", "blanks", "group_radius_arcsec")


def split_of_settings(settings: Mapping[str, Any], store: Store, class_names: tuple[str, ...]) -> Split:
    """Return the split of a store's images.

    Args:
        settings: of GalaxyData. split_file is read if it is given; else galaxy10-split-v1 is used for the published
            file and standard settings; else the split is drawn.

    Raises:
        Galaxy10Error: the split cannot be made or read.
    """
    given, remark = None, None
    if settings["split_file"] is not None:
        given = read_split_file(Path(settings["split_file"]), store.table)
    else:
        given, remark = published_split(settings, store.table)
    options = {key: settings[key] for key in _SETTINGS}
    size_px = max(store.images.shape[1:3])
    split = make_split(store.table, store.content, class_names, size_px=size_px, given=given, **options)
    return replace(split, notes=(*split.notes, remark)) if remark else split
