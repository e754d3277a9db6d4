"""Calibrate a run on its validation galaxies, for any prediction mode and all class priors."""

from pathlib import Path

import numpy as np
import torch

from galaxy10.classes import slugs
from galaxy10.data.store import Store, forget_pages
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.models.batch_norm_folding import fold_batch_norm
from galaxy10.models.factory import load_classifier
from galaxy10.models.features import FeatureHook
from galaxy10.prediction.calibration import calibrate_priors
from galaxy10.prediction.calibration_file import Calibration, load_calibration, save_calibrations
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.fit_laplace import fit_laplace
from galaxy10.prediction.label_smoothing import trained_label_smoothing
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.prediction.ood import KNNDetector
from galaxy10.prediction.options import PredictOptions, check_options
from galaxy10.prediction.predict_rows import predict_rows
from galaxy10.prediction.prior import ClassShares, class_shares
from galaxy10.prediction.run_store import run_store
from galaxy10.progress import progress
from galaxy10.runs.files import RunFiles

BATCH_SIZE = 64


def calibrate_finished_run(run: Path, store: Store | None, device: torch.device | str = "cpu") -> Calibration | None:
    """Calibrate a run for its default mode and keep the features of its validation galaxies, at the end of training.

    Return None, and do nothing, if the run has no validation predictions or no checkpoint. Without a store of the
    images there are no features, and the run gives no out-of-distribution score.
    """
    files = RunFiles(run)
    if not files.predictions("val").exists() or not files.best.exists():
        return None
    module = load_classifier(files.best)
    table = files.read_predictions("val")
    tap = FeatureHook(module.network, module.num_classes)
    if store is not None:
        size = module.known_preprocessing.image_size
        fold_batch_norm(module.network, lambda inputs: (module.probabilities(inputs), tap.features), size)
    module.to(device)
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
    calibrations = calibrate_priors(kept, table["label"].to_numpy(), _known_shares(run), trained_label_smoothing(run))
    save_calibrations(run, resolve_mode(module.tta_views, None, 0), calibrations)
    return calibrations["none"]


def _known_shares(run: Path) -> ClassShares | None:
    try:
        return class_shares(run)
    except Galaxy10Error:
        return None


def calibrate_run(
    run: Path, tta_views: int | None, mc_dropout: int, device: str = "auto", prior: str = "none", laplace: int = 0
) -> tuple[PredictMode, Calibration]:
    """Predict a run's validation galaxies in one mode, save its calibrations for all priors, and return one of them.

    With `laplace`, the Laplace approximation of the last layer is fitted first, if the run does not have it.

    Raises:
        Galaxy10Error: the training file is gone or has changed and the mode is not the run's own, the split has no
            validation galaxies, the network has no dropout or no linear last layer, or the run does not record what the
            prior needs.
    """
    check_options(PredictOptions(mc_dropout=mc_dropout, laplace=laplace, prior=prior))
    if prior != "none":
        class_shares(run, prior)
    mode = _calibrate_passes(run, tta_views, mc_dropout, laplace, device).with_prior(prior)
    return mode, load_calibration(run, mode)


def _calibrate_passes(run: Path, tta_views: int | None, mc_dropout: int, laplace: int, device: str) -> PredictMode:
    """Predict a run's validation galaxies in one mode, save its calibrations, and return the mode without a prior."""
    if laplace:
        fit_laplace(run, device)
    networks = Ensemble([run], tta_views=tta_views, mc_dropout=mc_dropout, laplace=laplace, device=device)
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
    samples = predict_rows(networks, store, row, "calibrating").samples
    with atomic_write(RunFiles(run).validation_samples(member.mode.passes_key)) as part, part.open("wb") as file:
        np.savez(file, rows=row, labels=labels, samples=samples)
    calibrations = calibrate_priors(samples, labels, _known_shares(run), trained_label_smoothing(run))
    save_calibrations(run, member.mode, calibrations)
    return member.mode
