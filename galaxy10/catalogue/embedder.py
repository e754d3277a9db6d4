"""Compute the features of images, with a trained run or with a pretrained backbone alone."""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from galaxy10.catalogue.embeddings import FEATURES
from galaxy10.catalogue.parts import Batch, PartMaker, Prepared, ReadImage
from galaxy10.data.augment import Preprocessing
from galaxy10.data.dihedral import tta_views
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.predictions import class_columns
from galaxy10.models.batch_norm_folding import fold_batch_norm
from galaxy10.models.factory import load_classifier
from galaxy10.models.features import RunFeatures
from galaxy10.prediction.device import choose_device, computes_on_cpu
from galaxy10.prediction.engine import OnnxForward
from galaxy10.runs.files import RunFiles
from galaxy10.system import keep_freed_memory

_LARGEST = float(np.finfo(np.float16).max)

Extract = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]


class FeatureNetwork:
    """A network that gives features, with its preprocessing.

    Args:
        name: of the network, for the record and for messages.
        module: the network, of which `extract` takes the features.
        extract: inputs (B, 3, S, S) → features (B, D) and, of a trained run, probabilities (B, C).
        pooling: how the features are taken, in words.
        class_names: of a trained run.
        on_cpu: whether a CPU computes the features.
        views: flips and quarter turns to average.
        loaded_again: returns the same network, loaded anew.
        engine: torch, or onnx for ONNX Runtime.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        extract: Extract,
        *,
        pooling: str,
        preprocessing: Preprocessing,
        device: torch.device,
        on_cpu: bool,
        views: int,
        loaded_again: Callable[[], "FeatureNetwork"],
        class_names: Sequence[str] = (),
        engine: str = "torch",
    ):
        self.engine, self.on_cpu, self._module, self._loaded_again = engine, on_cpu, module, loaded_again
        self.name, self.pooling, self.preprocessing, self.class_names = name, pooling, preprocessing, class_names
        self._extract, self.device, self._views = extract, device, views

    @classmethod
    def of_run(cls, run: Path, device: str, views: int, engine: str = "torch") -> "FeatureNetwork":
        """Return the network of a trained run.

        Raises:
            Galaxy10Error: the run cannot be loaded, or its network has no features, or no ONNX graph.
        """
        keep_freed_memory()
        module = load_classifier(RunFiles(run).best)
        extract, name = RunFeatures(module), str((module.model_config or {}).get("name"))
        preprocessing = module.known_preprocessing
        fold_batch_norm(module.network, extract, preprocessing.image_size)
        module.to(choose_device(device, engine))
        compute: Extract = extract
        if engine == "onnx":
            compute = OnnxForward.of(module, extract, preprocessing.image_size, device)
        return cls(
            name,
            module,
            compute,
            pooling=extract.pooling,
            preprocessing=preprocessing,
            device=module.device,
            on_cpu=computes_on_cpu(device, engine),
            views=views,
            class_names=module.class_names,
            engine=engine,
            loaded_again=partial(cls.of_run, run, device, views, engine),
        )

    @classmethod
    def of_backbone(cls, backbone: Any, device: str, views: int, engine: str = "torch") -> "FeatureNetwork":
        """Return the network of a galaxy10.models.backbone.Backbone.

        Raises:
            Galaxy10Error: the weights are damaged or do not fit.
        """
        from galaxy10.models.backbone import BackboneFeatures  # imports timm

        keep_freed_memory()
        where = choose_device(device, engine)
        network, preprocessing = backbone.load(), backbone.preprocessing
        extract = BackboneFeatures(network.to(memory_format=torch.channels_last))
        fold_batch_norm(network, extract, preprocessing.image_size)
        network.to(where)
        compute: Extract = extract
        if engine == "onnx":
            compute = OnnxForward.of(network, extract, preprocessing.image_size, device)
        return cls(
            backbone.source.backbone,
            network,
            compute,
            pooling=extract.pooling,
            preprocessing=preprocessing,
            device=where,
            on_cpu=computes_on_cpu(device, engine),
            views=views,
            engine=engine,
            loaded_again=partial(cls.of_backbone, backbone, device, views, engine),
        )

    @property
    def modules(self) -> list[nn.Module]:
        """Return what computes the features."""
        return [self._extract if isinstance(self._extract, OnnxForward) else self._module]

    def for_streams(self, number: int, threads: int) -> list["FeatureNetwork"]:
        """Return networks for several threads: this one and new ones; in ONNX Runtime all share one graph."""
        if not isinstance(self._extract, OnnxForward):
            return [self, *(self._loaded_again() for _ in range(number - 1))]
        shared = copy(self)
        shared._extract = self._extract.with_threads(threads)
        return [shared] * number

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Return an image (H, W, 3) uint8 as input (3, S, S) float32."""
        return [self.preprocessing.eval_transform(torch.from_numpy(pixels)[None])[0]], 0

    def placeholder(self) -> Prepared:
        """Return a prepared black image."""
        size = self.preprocessing.image_size
        return [torch.zeros(3, size, size)], 0

    @torch.inference_mode()
    def compute(self, prepared: Sequence[Prepared]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return features (B, D) float16 and probabilities (B, C) float32, averaged over the views.

        Raises:
            Galaxy10Error: a feature is not finite or too large for float16.
        """
        inputs = torch.stack([image[0][0] for image in prepared])
        inputs = inputs.to(self.device, memory_format=torch.channels_last)
        found = [self._extract(view) for view in tta_views(inputs, self._views)]
        features = torch.stack([of_view for of_view, _ in found]).mean(dim=0).cpu().numpy()
        largest = float(np.abs(features).max(initial=0))
        if not largest <= _LARGEST:
            raise Galaxy10Error(
                f"{self.name} gives features up to {largest:.3g}, which float16 cannot hold (at most {_LARGEST:.0f}); "
                "give another network"
            )
        given = [probabilities for _, probabilities in found if probabilities is not None]
        mean = torch.stack(given).mean(dim=0).cpu().numpy() if given else None
        return features.astype(np.float16), mean


class Embedder(PartMaker):
    """Computes the rows of embeddings: features, of a trained run also its prediction, and the quality of the image.

    Args:
        network: the network.
        options: the options of `galaxy10 embed` (galaxy10.prediction.options.PredictOptions).

    Raises:
        Galaxy10Error: the network has no features.
    """

    networks: FeatureNetwork

    def __init__(self, network: FeatureNetwork, options: Any):
        super().__init__(options)
        self.networks = network
        self.dimension = network.compute([network.placeholder()])[0].shape[1]

    @staticmethod
    def forward(networks: FeatureNetwork, prepared: Sequence[Prepared]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return features and probabilities for B prepared images."""
        return networks.compute(prepared)

    def rows(self, batch: Batch, outputs: tuple[np.ndarray, np.ndarray | None]) -> pa.Table:
        """Return the new columns for the images of a batch that could be read."""
        features, probabilities = outputs
        of_good = None if probabilities is None else probabilities[batch.good]
        return self._table(features[batch.good], of_good, batch.images)

    def empty_table(self) -> pa.Table:
        """Return the new columns without rows."""
        classes = len(self.networks.class_names)
        return self._table(np.empty((0, self.dimension), np.float16), np.empty((0, classes), np.float32), [])

    def _table(self, features: np.ndarray, probabilities: np.ndarray | None, images: Sequence[ReadImage]) -> pa.Table:
        raw = [row.tobytes() for row in features]
        columns = {FEATURES: pa.array(raw, pa.binary(2 * self.dimension))}
        if self.networks.class_names and probabilities is not None:
            named = class_columns(probabilities, self.networks.class_names)
            columns |= {name: pa.array(named[name]) for name in ("predicted", "predicted_name")}
            columns["p_predicted"] = pa.array(probabilities.max(axis=1, initial=0).astype(np.float32))
        return self.with_quality(pa.table(columns), images)

    def record(self) -> dict[str, Any]:
        """Return the part of the record about the network."""
        return {
            "network": self.networks.name,
            "dimension": self.dimension,
            "pooling": self.networks.pooling,
            "preprocessing": self.networks.preprocessing.to_dict(),
            "class_names": list(self.networks.class_names),
            "engine": self.networks.engine,
            "torch": torch.__version__,
        }
