"""Export a trained run as one file that needs nothing of this project: ONNX, or an exported program of torch.

Input: `images` uint8 (N, H, W, 3) of any size; output: `probabilities` (N, C). The graph holds the central square, the
antialiased resize, the normalisation, the test-time augmentation, the calibration and the class prior; the metadata
holds the class names.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from galaxy10.data.dihedral import tta_views
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.files import atomic_write
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.engine import quietly
from galaxy10.prediction.ensemble import Ensemble, Member
from galaxy10.prediction.label_smoothing import SMALLEST_SHARE
from galaxy10.prediction.options import PredictOptions, check_options, check_packages, check_runs
from galaxy10.runs.files import RunFiles
from galaxy10.version import __version__

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-4
METADATA = "galaxy10.json"
_SIZES = ((64, 64), (128, 128), (100, 140), (256, 256), (37, 20))  # of the images that the export is checked on


class ExportModule(nn.Module):
    """One run's network with its pre- and post-processing, in operations that every runtime has."""

    scale: torch.Tensor
    shift: torch.Tensor
    log_offsets: torch.Tensor | None

    def __init__(self, member: Member, calibration: Calibration | None):
        super().__init__()
        self.network, self.views = member.module.eval(), member.mode.views
        self.temperature = calibration.temperature if calibration else 1.0
        self.label_smoothing = calibration.label_smoothing_removed if calibration else 0.0
        log_offsets = calibration.log_offsets[0] if calibration and calibration.log_offsets else None
        preprocessing = member.module.known_preprocessing
        self.size, self.interpolation = preprocessing.image_size, preprocessing.interpolation
        mean, std = (
            torch.tensor(x, dtype=torch.float32)[:, None, None] for x in (preprocessing.mean, preprocessing.std)
        )
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self.register_buffer("log_offsets", None if log_offsets is None else torch.tensor(log_offsets))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities (N, C) of images (N, H, W, 3) uint8."""
        inputs = resize_uint8(images.permute(0, 3, 1, 2), self.size, self.interpolation)
        inputs = inputs.to(torch.float32) * self.scale + self.shift
        # All views in one batch: the network is in the file once, not once per view.
        probabilities = self.network(torch.cat(tta_views(inputs, self.views))).softmax(dim=1)
        mean = probabilities.unflatten(0, (self.views, images.shape[0])).mean(dim=0)
        if self.label_smoothing:  # as galaxy10.prediction.label_smoothing.remove_label_smoothing; softmax normalises
            unsmoothed = (mean - self.label_smoothing / mean.shape[1]) / (1 - self.label_smoothing)
            mean = torch.maximum(unsmoothed, SMALLEST_SHARE * mean)
        logits = mean.clamp_min(1e-30).log() / self.temperature
        calibrated: torch.Tensor = (logits if self.log_offsets is None else logits + self.log_offsets).softmax(dim=1)
        return calibrated


def resize_uint8(planes: torch.Tensor, size: int, interpolation: str = "bilinear") -> torch.Tensor:
    """Resize the central square of images (N, 3, H, W) uint8 to (N, 3, size, size) float64, whole grey levels.

    Equal to galaxy10.data.image_geometry.resize to the last bit: torch resizes uint8 along rows, then along columns, in
    fixed-point numbers, and rounds each time.
    """
    rows = torch.arange(planes.shape[2], dtype=torch.float64)
    columns = torch.arange(planes.shape[3], dtype=torch.float64)
    side = torch.minimum(rows.max() + 1, columns.max() + 1)
    across, unit = resize_matrix(columns, side, size, interpolation)
    lines = torch.floor(planes.to(torch.float64) @ across.T / unit + 0.5).clamp(0, 255)
    down, unit = resize_matrix(rows, side, size, interpolation)
    return torch.floor(down @ lines / unit + 0.5).clamp(0, 255)


def resize_matrix(
    pixels: torch.Tensor, side: torch.Tensor, size: int, interpolation: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrix (size, n) that resizes the central `side` of n pixels, in whole numbers, and its divisor.

    The filters are those of torch's antialiased interpolation, as wide as a pixel of the coarser grid: a triangle for
    bilinear, Keys' cubic with a = -1/2 for bicubic.

    Args:
        pixels: (n,) 0, 1, … n − 1, float64.
    """
    first = torch.floor((pixels.max() + 1 - side) / 2)
    scale = side / size
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    inside = ((pixels >= first) & (pixels < first + side)).to(torch.float64)
    distance = (pixels - first + 0.5 - centre[:, None]).abs() / scale.clamp_min(1)
    if interpolation == "bicubic":
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = (((5 - distance) * distance - 8) * distance + 4) / 2
        weight = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0)) * inside
    else:
        weight = (1 - distance).clamp_min(0) * inside
    weight = weight / weight.sum(dim=1, keepdim=True)
    # As many binary digits as let the largest weight fit into 15 bits, 22 at most.
    digits = (torch.ceil(torch.log(32767.5 / weight.max()) / math.log(2)) - 1).clamp(max=22)
    unit = torch.exp(digits * math.log(2)).round()
    return weight.sign() * torch.floor(weight.abs() * unit + 0.5), unit


def export(
    run: Path, output: Path, *, tta_views: int | None, temperature: bool, overwrite: bool, prior: str = "none"
) -> float:
    """Write a run as ONNX or as an exported program, check it, and return the largest difference of a probability.

    Raises:
        Galaxy10Error: the run or format does not exist, the run does not record what the prior needs, a package is
            missing, or the export predicts something else.
    """
    if output.suffix not in SUFFIXES:
        raise Galaxy10Error(f"-o {output} has no known format; end the name in {' or '.join(SUFFIXES)}")
    if output.exists() and not overwrite:
        raise Galaxy10Error(f"{output} exists already; give another -o, or add --overwrite")
    if output.suffix == ".onnx":
        check_packages("export to .pt2")
    options = PredictOptions(tta_views=tta_views, temperature=temperature, prior=prior)
    check_options(options)
    check_runs([run], options)
    networks = Ensemble([run], tta_views=tta_views, device="cpu", prior=prior)
    calibration = networks.calibration() if temperature or prior != "none" else None
    if calibration and not temperature:
        calibration = calibration.without_temperature()
    module = ExportModule(networks.members[0], calibration).eval()
    batches = _check_images(run)
    with torch.no_grad():
        module(
            torch.from_numpy(batches[0])
        )  # a network that computes filters once has computed them before it is traced
    metadata = {
        "galaxy10": __version__,
        "class_names": list(networks.class_names),
        **(calibration.record(prior) if calibration else {"temperature": 1.0}),
        "views": networks.members[0].mode.views,
        "image_size": module.size,
        "split_hash": networks.members[0].provenance["split"]["hash"],
        "run": run.resolve().name,
    }
    other = ".pt2" if output.suffix == ".onnx" else ".onnx"
    with atomic_write(output) as part:
        # The exporters choose the format by the suffix.
        written = part.with_suffix(f"{part.suffix}{output.suffix}")
        try:
            try:
                quietly(_write_onnx if output.suffix == ".onnx" else _write_program, module, written, metadata)
                difference = largest_difference(networks, calibration, written, batches)
            except Galaxy10Error:
                raise
            except Exception as error:  # exporters and runtimes raise anything
                raise Galaxy10Error(
                    f"{type(module.network.network).__name__} cannot be exported as {output.suffix}: "
                    f"{first_line(error)}; try {other}, or write its forward in operations of torch alone, without "
                    "len() or numbers taken from tensors"
                ) from error
            if not difference < TOLERANCE:
                raise Galaxy10Error(
                    f"the export of {run} does not predict what the run predicts (probabilities differ by up to "
                    f"{difference:.1e}) and is deleted; try {other}"
                )
            os.replace(written, part)
        finally:
            written.unlink(missing_ok=True)
    return difference


def _dynamic() -> tuple[torch.Tensor, dict[int, Any]]:
    example = torch.from_numpy(_noise(np.random.default_rng(0), 3, 72, 80))
    sizes = {0: torch.export.Dim("N"), 1: torch.export.Dim("H", min=16), 2: torch.export.Dim("W", min=16)}
    return example, sizes


def _write_program(module: nn.Module, path: Path, metadata: dict[str, Any]) -> None:
    example, sizes = _dynamic()
    program = torch.export.export(module, (example,), dynamic_shapes={"images": sizes})
    torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})


def _write_onnx(module: nn.Module, path: Path, metadata: dict[str, Any]) -> None:
    example, sizes = _dynamic()
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes={"images": sizes},
        input_names=["images"],
        output_names=["probabilities"],
        verbose=False,
    )
    assert program is not None
    for key, value in metadata.items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    program.save(str(path), external_data=False)


def largest_difference(
    networks: Ensemble, calibration: Calibration | None, path: Path, batches: list[np.ndarray]
) -> float:
    """Return the largest difference of a probability between a run and its export, over batches (n, H, W, 3) uint8.

    Infinite if the export gives a NaN.
    """
    exported = _runtime(path)
    worst = 0.0
    for images in batches:
        samples = networks.predict([networks.prepare(image) for image in images]).samples
        expected = (calibration.apply(samples) if calibration else samples).mean(axis=0)
        found = exported(images)
        worst = max(worst, float(np.abs(found - expected).max())) if np.isfinite(found).all() else float("inf")
    return worst


def _runtime(path: Path) -> Any:
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()
        return lambda images: program(torch.from_numpy(images)).detach().numpy()
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _check_images(run: Path) -> list[np.ndarray]:
    """Return the images that an export is checked on: noise of several sizes, and galaxies that the run has kept."""
    rng = np.random.default_rng(1)
    batches = [_noise(rng, 2, height, width) for height, width in _SIZES]
    kept = RunFiles(run).samples("batch")
    if kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            batches.append(np.ascontiguousarray(arrays["images"][:32]))
    return batches


def _noise(rng: np.random.Generator, number: int, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (number, height, width, 3), dtype=np.uint8)
