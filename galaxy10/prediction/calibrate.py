"""Calibrate a run on its validation galaxies, for any prediction mode and all class priors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs
from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import Store, forget_pages, open_store, store_of_run
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.models.factory import load_classifier
from galaxy10.models.features import FeatureHook
from galaxy10.prediction.calibration import calibrate_priors
from galaxy10.prediction.calibration_file import Calibration, load_calibration, save_calibrations
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.prediction.ood import KNNDetector
from galaxy10.prediction.prior import ClassShares, check_prior, class_shares
from galaxy10.progress import progress
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import run_config

BATCH_SIZE = 64


def calibrate_finished_run(run: Path, store: Store | None, device: torch.device | str = "cpu") -> Calibration | None:
    """Calibrate a run for its default mode and keep the features of its validation galaxies, at the end of training.

    Return None, and do nothing, if the run has no validation predictions or no checkpoint. Without a store of the
    images there are no features, and the run gives no out-of-distribution score.
    """
    files = RunFiles(run)
    if not files.predictions("val").exists() or not files.best.exists():
        return None
    module = load_classifier(files.best).to(device)
    table = files.read_predictions("val")
    tap = FeatureHook(module.network, module.num_classes)
    features, samples = [], []
    with torch.inference_mode(), progress("calibrating", len(table)) as update:
        for start in range(0, len(table), BATCH_SIZE):
            if store is None:
                break
            images = torch.from_numpy(store.images[table["row"].to_numpy()[start : start + BATCH_SIZE]])
            samples.append(
                module.probabilities(module.known_preprocessing.eval_transform(images.to(device))).cpu().numpy()
            )
            assert tap.features is not None
            features.append(tap.features.cpu())
            forget_pages(store.images)
            update(start + len(images))
    detector = KNNDetector.fit(torch.cat(features)) if features else None
    if detector is not None:
        detector.save(files.validation_features)
    if samples and not module.evaluates_saved_weights:
        kept = np.concatenate(samples)[None]
    else:
        kept = table[[f"p_{slug}" for slug in slugs(module.class_names)]].to_numpy(np.float32)[None]
    calibrations = calibrate_priors(kept, table["label"].to_numpy(), _known_shares(run))
    save_calibrations(run, resolve_mode(module.tta_views, None, 0), calibrations)
    return calibrations["none"]


def _known_shares(run: Path) -> ClassShares | None:
    try:
        return class_shares(run)
    except Galaxy10Error:
        return None


def calibrate_run(
    run: Path, tta_views: int | None, mc_dropout: int, device: str = "auto", prior: str = "none"
) -> tuple[PredictMode, Calibration]:
    """Predict a run's validation galaxies in one mode, save its calibrations for all priors, and return one of them.

    Raises:
        Galaxy10Error: the training file is gone or has changed and the mode is not the run's own, the split has no
            validation galaxies, or the run does not record what the prior needs.
    """
    check_prior(prior)
    if prior != "none":
        class_shares(run, prior)
    mode = _calibrate_passes(run, tta_views, mc_dropout, device).with_prior(prior)
    return mode, load_calibration(run, mode)


def _calibrate_passes(run: Path, tta_views: int | None, mc_dropout: int, device: str) -> PredictMode:
    """Predict a run's validation galaxies in one mode, save its calibrations, and return the mode without a prior."""
    networks = Ensemble([run], tta_views=tta_views, mc_dropout=mc_dropout, device=device)
    member = networks.members[0]
    own_mode = member.mode == resolve_mode(member.module.tta_views, None, 0)
    try:
        store, split = run_store(run, member.provenance)
    except Galaxy10Error:
        # The run's own mode needs no images: its predictions of the validation galaxies are kept.
        kept = own_mode and member.module.evaluates_saved_weights
        if kept and calibrate_finished_run(run, None, networks.device) is not None:
            return member.mode
        raise
    rows = split.loc[split["subset"] == "val"]
    if not len(rows):
        raise Galaxy10Error(f"{run} has no validation galaxies to calibrate it on; train with a split that has some")
    if own_mode and calibrate_finished_run(run, store, networks.device) is not None:
        return member.mode
    row, labels = rows["row"].to_numpy(np.int64), rows["label"].to_numpy(np.int64)
    samples = predict_rows(networks, store, row)
    with atomic_write(RunFiles(run).validation_samples(member.mode.passes_key)) as part, part.open("wb") as file:
        np.savez(file, rows=row, labels=labels, samples=samples)
    save_calibrations(run, member.mode, calibrate_priors(samples, labels, _known_shares(run)))
    return member.mode


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


def predict_rows(networks: Ensemble, store: Store, rows: np.ndarray) -> np.ndarray:
    """Return probabilities (K, n, C) of n rows of a store: K outputs (members, dropout samples) for each image."""
    samples = []
    with progress("calibrating", len(rows)) as update:
        for start in range(0, len(rows), BATCH_SIZE):
            images = [networks.prepare(np.array(store.images[row])) for row in rows[start : start + BATCH_SIZE]]
            samples.append(networks.predict(images).samples)
            forget_pages(store.images)
            update(start + len(images))
    return np.concatenate(samples, axis=1)
