"""What a run inherits from the run whose weights it starts from (model.init_from)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.data.known_galaxies import KnownGalaxies
from galaxy10.errors import Galaxy10Error
from galaxy10.models.settings import complete_model
from galaxy10.models.timm_registry import names_weights
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import check_run, run_config


def check_init_from(model: dict[str, Any]) -> None:
    """Check that model.init_from is a finished run of the same kind of network; its tensors are compared later.

    Raises:
        Galaxy10Error: it is not.
    """
    if model["init_from"] is None:
        return
    run = Path(str(model["init_from"]))
    if names_weights(model):
        raise Galaxy10Error("model.init_from and model.weights both name weights to start from; leave out one of them")
    if "optimizer" in model["unused_groups"]:
        raise Galaxy10Error(f"model={model['name']} is computed anew from its images; leave out model.init_from")
    try:
        check_run(run)
    except Galaxy10Error as error:
        raise Galaxy10Error(f"model.init_from: {error}") from error
    state = RunFiles(run).read_status().get("state")
    if state != "finished":
        raise Galaxy10Error(
            f"model.init_from={run} is no finished run (its state: {state}); run its command again to finish it, or "
            "give another run"
        )
    there = complete_model(run_config(run)["model"])
    if _architecture(there) != _architecture(model):
        raise Galaxy10Error(
            f"model.init_from={run} is a run of {_named(there)}, and this is {_named(model)}; type "
            f"model={there['name']}, or give another run"
        )


def _architecture(model: dict[str, Any]) -> tuple[Any, ...]:
    network = model.get("network") or {}
    backbone = model["backbone"] and str(model["backbone"]).partition(".")[0]
    return model.get("_target_"), backbone, network.get("_target_"), network.get("model_name")


def _named(model: dict[str, Any]) -> str:
    backbone = model["backbone"]
    return f"model={model['name']}" + (f" ({backbone})" if backbone and backbone != model["name"] else "")


def check_same_start(files: RunFiles, record: dict[str, Any] | None) -> None:
    """Check that a resumed run would start from the same weights as before; their inputs' normalisation is used again.

    Args:
        files: of the resumed run.
        record: the module's init_record now.

    Raises:
        Galaxy10Error: the run that it started from has other weights now.
    """
    before = (files.read_provenance().get("model") or {}).get("init_from")
    if files.last.exists() and before and record and before["checkpoint"] != record["checkpoint"]:
        raise Galaxy10Error(
            f"{record['run']} has other weights than when {files.path} started from it; restore that run, or give "
            "another run.dir"
        )


def with_known_galaxies_of(run: Path, own: pd.DataFrame) -> pd.DataFrame:
    """Return the known galaxies of a run and those of the run that it starts from, without repeats."""
    before = RunFiles(run).read_known_galaxies()
    if before is None:
        return own
    return pd.concat([own, before]).drop_duplicates(["pixel_hash", "ra", "dec"]).reset_index(drop=True)


def overlap_note(run: Path, store_table: pd.DataFrame, split_table: pd.DataFrame) -> str | None:
    """Return a line if a run was trained or validated on galaxies of this split's validation or test subset, else None.

    Args:
        store_table: row, pixel_hash, ra, dec. split_table: row, subset.
    """
    before = RunFiles(run).read_known_galaxies()
    if before is None:
        return (
            f"it cannot be checked whether {run} was trained on galaxies of the test subset: it does not record its own"
        )
    counted = []
    for subset in ("val", "test"):
        rows = split_table.loc[split_table["subset"] == subset, ["row"]].merge(store_table, on="row")
        trained = before[before["subset"] == "train"] if subset == "val" else before
        match = KnownGalaxies(trained).match(*(rows[name].to_numpy() for name in ("pixel_hash", "ra", "dec")))
        if number := int(np.count_nonzero(match.known)):
            counted.append(f"{number:,} of the {len(rows):,} {subset} galaxies")
    if not counted:
        return None
    found = f"{run} was trained or validated on {' and '.join(counted)}"
    return f"{found}: metrics are too optimistic; use the same split in both"
