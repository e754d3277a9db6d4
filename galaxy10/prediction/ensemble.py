"""One or several trained networks that predict together."""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from galaxy10.classes import slugs
from galaxy10.data.augment import Preprocessing
from galaxy10.data.dihedral import tta_views
from galaxy10.errors import Galaxy10Error
from galaxy10.models.batch_norm_folding import fold_batch_norm
from galaxy10.models.classifier import Classifier
from galaxy10.models.factory import load_classifier
from galaxy10.models.features import FeatureHook
from galaxy10.prediction.calibration import calibrate
from galaxy10.prediction.calibration_file import Calibration, load_calibration, load_validation_samples
from galaxy10.prediction.device import choose_device, computes_on_cpu
from galaxy10.prediction.engine import OnnxForward
from galaxy10.prediction.head_samples import head_samples, sampled_head_logits
from galaxy10.prediction.int8 import cpu_has_int8
from galaxy10.prediction.label_smoothing import trained_label_smoothing
from galaxy10.prediction.mc_dropout import dropout_layers, image_key, sampled_logits
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.prediction.ood import KNNDetector
from galaxy10.prediction.options import INT8
from galaxy10.prediction.prior import class_shares
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import check_run
from galaxy10.system import keep_freed_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """Outputs for B images.

    Attributes:
        samples: (K, B, C) probabilities.
        ood_score: (B,) float32; NaN: unknown.
        ood_percentile: (B,) float32, share of the validation galaxies with a lower score, in per cent; NaN: unknown.
    """

    samples: np.ndarray
    ood_score: np.ndarray
    ood_percentile: np.ndarray

    @property
    def ood(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the out-of-distribution score and its percentile."""
        return self.ood_score, self.ood_percentile

    def take(self, rows: Sequence[int]) -> "Outputs":
        """Return the outputs of some of the images."""
        return Outputs(self.samples[:, rows], self.ood_score[rows], self.ood_percentile[rows])

    @classmethod
    def empty(cls, samples: int, classes: int) -> "Outputs":
        """Return the outputs of no images."""
        none = np.empty(0, np.float32)
        return cls(np.empty((samples, 0, classes), np.float32), none, none)

    @classmethod
    def concatenate(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Return the outputs of several batches, at least one, as one."""
        return cls(
            np.concatenate([part.samples for part in parts], axis=1),
            np.concatenate([part.ood_score for part in parts]),
            np.concatenate([part.ood_percentile for part in parts]),
        )


@dataclass
class Member:
    """One run's network with its prediction mode.

    Attributes:
        ood_detector: None if the run has no features.
        head_samples: (K, C, D) or (K, C, D + 1) weights of the last layer, with the bias as the last column, in the
            Laplace mode; else None.
    """

    run: Path
    provenance: dict[str, Any]
    module: Classifier
    mode: PredictMode
    feature_hook: FeatureHook
    ood_detector: KNNDetector | None
    head_samples: torch.Tensor | None = None
    onnx: OnnxForward | None = None

    def use_onnx(self, device: str = "cpu", quantize_on: torch.Tensor | None = None) -> None:
        """Compute the forward passes in ONNX Runtime from now on; in 8 bits, if inputs (N, 3, S, S) are given.

        Raises:
            Galaxy10Error: the network cannot be written as an ONNX graph.
        """
        size = self.module.known_preprocessing.image_size
        self.onnx = OnnxForward.of(self.module, self.forward, size, device, quantize_on)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the probabilities (B, C) and features (B, D) of inputs (B, 3, S, S)."""
        probabilities = self.module.probabilities(inputs)
        return probabilities, self.feature_hook.features

    @torch.inference_mode()
    def predict(self, inputs: torch.Tensor, keys: torch.Tensor) -> Outputs:
        """Return one sample, or one per sample of the mode, for prepared images (B, 3, S, S) with their keys (B,)."""
        views = tta_views(inputs, self.mode.views)
        forward = self.onnx or self.forward
        first, features = forward(views[0])
        score = percentile = np.full(len(inputs), np.nan, dtype=np.float32)
        if self.ood_detector is not None:
            assert features is not None
            score = self.ood_detector.score(features)
            percentile = self.ood_detector.percentile(score)
        if self.mode.dropout:
            # The same units are dropped in all views: they are views of one galaxy by one network.
            outputs = [sampled_logits(self.module, v, keys, self.mode.dropout).float().softmax(-1) for v in views]
        else:
            outputs = [self._samples(first, features), *(self._samples(*forward(view)) for view in views[1:])]
        return Outputs(torch.stack(outputs).mean(dim=0).cpu().numpy(), score, percentile)

    def _samples(self, probabilities: torch.Tensor, features: torch.Tensor | None) -> torch.Tensor:
        """Return probabilities (K, B, C) of a forward pass: of K samples of the last layer, or those given, K = 1."""
        if self.head_samples is None or features is None:
            return probabilities[None]
        # All views have the same samples of the weights: they are views of one galaxy by one network.
        return sampled_head_logits(features.float(), self.head_samples).softmax(dim=-1)


class Ensemble:
    """Networks of the same classes that predict together.

    Args:
        runs: run directories.
        tta_views: flips and quarter turns to average: 1, 2, 4 or 8; None: the run's own `model.tta_views`.
        mc_dropout: number of samples with dropout, 0 for none.
        laplace: number of samples of the last layer's weights, 0 for none.
        device: auto, cpu, cuda, …
        prior: the class prior of the calibration, one of galaxy10.prediction.prior.PRIORS.
        engine: torch, onnx for ONNX Runtime on the CPU or with device=cuda on a GPU, or onnx-int8 for the CPU in 8
            bits, which needs `quantize`.

    Raises:
        Galaxy10Error: a directory is no trained run, runs differ in classes, a network has no dropout, no Laplace
            approximation or no ONNX graph, or the device is not available.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        *,
        tta_views: int | None = None,
        mc_dropout: int = 0,
        laplace: int = 0,
        device: str = "auto",
        prior: str = "none",
        engine: str = "torch",
    ):
        keep_freed_memory()
        self._loaded_again = partial(
            Ensemble,
            runs,
            tta_views=tta_views,
            mc_dropout=mc_dropout,
            laplace=laplace,
            device=device,
            prior=prior,
            engine=engine,
        )
        self.engine = engine
        self.int8_agreement: float | None = None
        self.device, self.on_cpu = choose_device(device, engine), computes_on_cpu(device, engine)
        self.members = [self._member(run, tta_views, mc_dropout, laplace, prior) for run in runs]
        self.class_names = self.members[0].module.class_names
        for member in self.members[1:]:
            if member.module.class_names != self.class_names:
                raise Galaxy10Error(
                    f"{member.run} and {self.members[0].run} have different classes: "
                    f"{', '.join(member.module.class_names)} against {', '.join(self.class_names)}; "
                    "give runs of the same classes"
                )
        if engine == "onnx":
            for member in self.members:
                member.use_onnx(device)
        self.preprocessings: list[Preprocessing] = []
        self._input_index = []
        for member in self.members:
            if member.module.known_preprocessing not in self.preprocessings:
                self.preprocessings.append(member.module.known_preprocessing)
            self._input_index.append(self.preprocessings.index(member.module.known_preprocessing))

    def _member(self, run: Path, tta_views: int | None, mc_dropout: int, laplace: int, prior: str) -> Member:
        provenance = check_run(run)
        module = load_classifier(RunFiles(run).best)
        mode = resolve_mode(module.tta_views, tta_views, mc_dropout, prior, laplace)
        if mc_dropout and not dropout_layers(module.network, module.known_preprocessing.image_size):
            raise Galaxy10Error(
                f"{run} ({provenance['model']['name']}) has no dropout; leave out --mc-dropout, or train with "
                "model.dropout=0.2 (pca_logreg has none)"
            )
        detector = KNNDetector.load(RunFiles(run).validation_features)
        feature_hook = FeatureHook(module.network, module.num_classes)
        member = Member(run, provenance, module, mode, feature_hook, detector)
        fold_batch_norm(module.network, member.forward, module.known_preprocessing.image_size)
        module.to(self.device)
        member.head_samples = head_samples(run, module, mode) if laplace else None
        logger.debug("loaded %s on %s: %s", run, self.device, mode.key)
        return member

    @property
    def modules(self) -> list[nn.Module]:
        """Return what computes the forward passes."""
        return [member.onnx or member.module for member in self.members]

    def for_streams(self, number: int, threads: int) -> list["Ensemble"]:
        """Return ensembles for several threads: this one and new ones; in ONNX Runtime all share one's graphs."""
        if self.engine == "torch":
            return [self, *(self._loaded_again() for _ in range(number - 1))]
        shared = copy(self)
        shared.members = [replace(m, onnx=m.onnx.with_threads(threads)) for m in self.members if m.onnx]
        return [shared] * number

    @property
    def slugs(self) -> list[str]:
        """Return the class names as parts of column names."""
        return slugs(self.class_names)

    def prepare(self, pixels: np.ndarray) -> tuple[list[torch.Tensor], int]:
        """Return an image (H, W, 3) uint8 as one input (3, S, S) float32 per preprocessing, and its dropout key."""
        batch = torch.from_numpy(pixels)[None]
        uses_dropout = any(member.mode.dropout for member in self.members)
        key = image_key(pixels) if uses_dropout else 0
        return [preprocessing.eval_transform(batch)[0] for preprocessing in self.preprocessings], key

    def placeholder(self) -> tuple[list[torch.Tensor], int]:
        """Return a prepared black image, used in place of an image that cannot be read."""
        return [torch.zeros(3, p.image_size, p.image_size) for p in self.preprocessings], 0

    def quantize(self, prepared: Sequence[tuple[list[torch.Tensor], int]]) -> None:
        """Compute in 8 bits from now on, with the ranges of some prepared images, at least one.

        The share of these images whose most probable class stays the same is `int8_agreement`.
        """
        before = self._predict(prepared).samples.mean(axis=0).argmax(axis=1)
        inputs = self._inputs(prepared)
        for member, i in zip(self.members, self._input_index, strict=True):
            member.use_onnx(quantize_on=inputs[i])
        after = self._predict(prepared).samples.mean(axis=0).argmax(axis=1)
        self.int8_agreement = float((before == after).mean())
        logger.info(f"8 bits: {self.int8_agreement:.1%} of {len(prepared)} images keep their most probable class")
        if not cpu_has_int8():
            logger.warning("note: this CPU has no instructions for 8 bits (VNNI); --engine onnx is as fast and exact")

    def predict(self, prepared: Sequence[tuple[list[torch.Tensor], int]]) -> Outputs:
        """Return the outputs of all members for B prepared images, the members' samples one after another."""
        assert self.engine != INT8 or self.int8_agreement is not None, "call quantize first"
        return self._predict(prepared)

    def _inputs(self, prepared: Sequence[tuple[list[torch.Tensor], int]]) -> list[torch.Tensor]:
        per_preprocessing = zip(*(p[0] for p in prepared), strict=True)
        return [torch.stack(x).to(self.device, memory_format=torch.channels_last) for x in per_preprocessing]

    def _predict(self, prepared: Sequence[tuple[list[torch.Tensor], int]]) -> Outputs:
        inputs = self._inputs(prepared)
        keys = torch.tensor([p[1] for p in prepared], dtype=torch.int64, device=self.device)
        outputs = [m.predict(inputs[i], keys) for m, i in zip(self.members, self._input_index, strict=True)]
        return Outputs(
            np.concatenate([output.samples for output in outputs]),
            np.mean([output.ood_score for output in outputs], axis=0),
            np.mean([output.ood_percentile for output in outputs], axis=0),
        )

    def calibration(self) -> Calibration:
        """Return the calibration of one run, or fit a common one to the validation galaxies of all members.

        Raises:
            Galaxy10Error: a member is not calibrated for its mode, or members have different validation galaxies.
        """
        calibrations = [load_calibration(member.run, member.mode) for member in self.members]
        if len(self.members) == 1:
            return calibrations[0]
        stored = [load_validation_samples(m.run, m.mode, m.module.tta_views, self.slugs) for m in self.members]
        rows, labels, _ = stored[0]
        hashes = {member.provenance["split"]["hash"] for member in self.members}
        if len(hashes) > 1 or any(not np.array_equal(rows, other) for other, _, _ in stored):
            raise Galaxy10Error(
                f"these runs have different validation galaxies (splits {', '.join(sorted(hashes))}), so no common "
                f"temperature can be fitted; give runs of one split, or type --no-temperature without --prior"
            )
        samples = [of_member for _, _, of_member in stored]
        # One amount for all: fitted up to the least that any member was trained with.
        smoothing = min(trained_label_smoothing(member.run) for member in self.members)
        prior = self.members[0].mode.prior
        if prior == "none":
            return calibrate(np.concatenate(samples), labels, label_smoothing=smoothing)
        # Members may have been trained on different shares (data.balance): each has offsets of its own.
        shares = [class_shares(member.run, prior) for member in self.members]
        of_samples = [share for share, part in zip(shares, samples, strict=True) for _ in part]
        return calibrate(np.concatenate(samples), labels, prior, of_samples, label_smoothing=smoothing)
