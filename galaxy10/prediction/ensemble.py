"""One trained network or several, asked as one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from galaxy10.classes import slugs
from galaxy10.data.augment import Preprocessing, tta_views
from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier
from galaxy10.models.factory import load_classifier
from galaxy10.prediction.calibration import calibrate
from galaxy10.prediction.calibration_file import Calibration, load_calibration, stored_samples
from galaxy10.prediction.mc_dropout import dropout_layers, image_key, sampled_logits
from galaxy10.prediction.mode import PredictMode, resolve_mode
from galaxy10.prediction.ood import FeatureHook, KNNDetector
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import check_run
from galaxy10.system import keep_freed_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outputs:
    """What networks say about B pictures: samples (K, B, C) probabilities, ood_score (B,) float32 (NaN: unknown)."""

    samples: np.ndarray
    ood_score: np.ndarray


@dataclass
class Member:
    """One run's network, ready to be asked in one way."""

    run: Path
    about: dict[str, Any]
    module: Classifier
    way: PredictMode
    tap: FeatureHook
    strangeness: KNNDetector | None

    @torch.inference_mode()
    def ask(self, inputs: torch.Tensor, keys: torch.Tensor) -> Outputs:
        """(B, 3, S, S) prepared pictures and their keys (B,) → one sample, or one per dropout."""
        shown = tta_views(inputs, self.way.views)
        first = self.module.probabilities(shown[0])[None]
        assert self.tap.features is not None
        score = np.full(len(inputs), np.nan, dtype=np.float32)
        if self.strangeness is not None:
            score = self.strangeness.score(self.tap.features)
        if self.way.dropout:
            # The same units are dropped in all views: they are views of one galaxy by one network.
            answers = [sampled_logits(self.module, v, keys, self.way.dropout).float().softmax(-1) for v in shown]
        else:
            answers = [first, *(self.module.probabilities(view)[None] for view in shown[1:])]
        return Outputs(torch.stack(answers).mean(dim=0).cpu().numpy(), score)


class Ensemble:
    """Networks of the same classes that predict together.

    Args:
        runs: their directories.
        tta_views: flips and quarter turns to average: 1, 2, 4 or 8; None: as many as each run does itself.
        mc_dropout: number of samples with dropout, 0 for none.
        device: auto, cpu, cuda, …

    Raises:
        Galaxy10Error: no trained run, other classes, no dropout in a network, no such device.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        *,
        tta_views: int | None = None,
        mc_dropout: int = 0,
        device: str = "auto",
    ):
        keep_freed_memory()
        self.device = choose_device(device)
        self.members = [self._member(run, tta_views, mc_dropout) for run in runs]
        self.class_names = self.members[0].module.class_names
        for member in self.members[1:]:
            if member.module.class_names != self.class_names:
                raise Galaxy10Error(
                    f"{member.run} tells other classes apart than {self.members[0].run}: "
                    f"{', '.join(member.module.class_names)} against {', '.join(self.class_names)}; "
                    "give runs of the same classes"
                )
        self.preprocessings: list[Preprocessing] = []
        self._input_of = []
        for member in self.members:
            if member.module.known_preprocessing not in self.preprocessings:
                self.preprocessings.append(member.module.known_preprocessing)
            self._input_of.append(self.preprocessings.index(member.module.known_preprocessing))

    def _member(self, run: Path, tta_views: int | None, mc_dropout: int) -> Member:
        about = check_run(run)
        module = load_classifier(RunFiles(run).best).to(self.device)
        way = resolve_mode(module.tta_views, tta_views, mc_dropout)
        if mc_dropout and not dropout_layers(module.network, module.known_preprocessing.image_size):
            raise Galaxy10Error(
                f"{run} ({about['model']['name']}) has no dropout to draw from; leave out --mc-dropout, or train with "
                "model.dropout=0.2 (pca_logreg has none)"
            )
        tap = FeatureHook(module.network, module.num_classes)
        logger.debug("loaded %s on %s: %s", run, self.device, way.key)
        return Member(run, about, module, way, tap, KNNDetector.load(RunFiles(run).validation_features))

    @property
    def slugs(self) -> list[str]:
        """Class names as parts of column names."""
        return slugs(self.class_names)

    def prepare(self, pixels: np.ndarray) -> tuple[list[torch.Tensor], int]:
        """One picture (H, W, 3) uint8 as each kind of input, (3, S, S) float32, and its key."""
        batch = torch.from_numpy(pixels)[None]
        dropping = any(member.way.dropout for member in self.members)
        key = image_key(pixels) if dropping else 0
        return [preprocessing.eval_transform(batch)[0] for preprocessing in self.preprocessings], key

    def blank(self) -> tuple[list[torch.Tensor], int]:
        """What stands in for a picture that cannot be read."""
        return [torch.zeros(3, p.image_size, p.image_size) for p in self.preprocessings], 0

    def ask(self, prepared: Sequence[tuple[list[torch.Tensor], int]]) -> Outputs:
        """Outputs of all members to B prepared pictures, the members' samples one after another."""
        kinds = zip(*(p[0] for p in prepared), strict=True)
        inputs = [torch.stack(k).to(self.device, memory_format=torch.channels_last) for k in kinds]
        keys = torch.tensor([p[1] for p in prepared], dtype=torch.int64, device=self.device)
        answers = [m.ask(inputs[i], keys) for m, i in zip(self.members, self._input_of, strict=True)]
        return Outputs(
            np.concatenate([answer.samples for answer in answers]),
            np.mean([answer.ood_score for answer in answers], axis=0),
        )

    def calibration(self) -> Calibration:
        """How far these networks together can be believed, from their validation galaxies.

        Raises:
            Galaxy10Error: a member is not calibrated for its way, or they were validated on different galaxies.
        """
        calibrations = [load_calibration(member.run, member.way) for member in self.members]
        if len(self.members) == 1:
            return calibrations[0]
        stored = [stored_samples(m.run, m.way, m.module.tta_views, self.slugs) for m in self.members]
        rows, labels, _ = stored[0]
        hashes = {member.about["split"]["hash"] for member in self.members}
        if len(hashes) > 1 or any(not np.array_equal(rows, other) for other, _, _ in stored):
            raise Galaxy10Error(
                f"these runs were validated on different galaxies (splits {', '.join(sorted(hashes))}), so there is "
                f"nothing to fit their common temperature to; give runs of one split, or --no-temperature"
            )
        return calibrate(np.concatenate([samples for _, _, samples in stored]), labels)


def choose_device(name: str) -> torch.device:
    """The device of a name; auto: a GPU where there is one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        raise Galaxy10Error(f"--device {name} is not to be had here; type --device auto or --device cpu") from error
    return device
