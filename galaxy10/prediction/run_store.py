"""The images that a run was trained on, read again."""

from pathlib import Path
from typing import Any

import pandas as pd

from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import Store, open_store, store_of_run
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import run_config


def run_store(run: Path, about: dict[str, Any]) -> tuple[Store, pd.DataFrame]:
    """Open the store of a run's training file; return the store and the run's split table.

    Raises:
        Galaxy10Error: the file is gone, has changed, or the run was trained on a custom data module.
    """
    config = run_config(run)
    if about["data"]["name"] == "custom":
        raise Galaxy10Error(
            f"{run} was trained on a custom data module ({about['data']['path']}), whose images cannot be read again: "
            f"it is calibrated for one mode only; type --tta-views {config['model'].get('tta_views')}"
        )
    path = Path(about["data"]["path"])
    if not path.exists():
        raise Galaxy10Error(f"{run} was trained from {path}, which does not exist any more; restore it to calibrate")
    source = open_source(path, config["data"].get("class_names"))
    store = open_store(source, store_of_run(source.path, config["data"]))
    if store.content != about["data"]["content"]:
        raise Galaxy10Error(f"{path} has changed since {run} was trained from it; restore the old file to calibrate")
    return store, RunFiles(run).read_split()
