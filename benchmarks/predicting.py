"""Measure `galaxy10 predict` and `embed` beside the bare network, a timm inference script and ONNX Runtime.

python benchmarks/predicting.py --images 384 --repeats 3

The bare network computes prepared tensors that are in memory already. The timm script reads files with as many workers
as cores, and computes one view in channels-last; the other script does the same with ONNX Runtime. Networks have random
weights: EfficientNet-Lite0 at 128 px, and the D4 CNN of size small at 64 px, which needs one view. One view is computed
of five times as many images as eight, so that filling the pipeline takes little beside it.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import onnxruntime
import timm
import torch
from astropy.io import fits
from PIL import Image
from side_by_side import ROOT, Row, alone, arguments, keep, run, side_by_side
from survey import survey_store
from timm.data import create_transform

from galaxy10.data.dihedral import tta_views
from galaxy10.models.factory import load_classifier
from galaxy10.runs.files import RunFiles
from galaxy10.system import keep_freed_memory

BATCH = 64
NETWORKS = {
    "EfficientNet-Lite0": ["model=efficientnet_lite0", "model.image_size=128", "model.pretrained=false"],
    "D4 CNN": ["model=d4_cnn", "model.network.size=small", "model.image_size=64"],
}


class Files(torch.utils.data.Dataset):
    """Image files, as a user of timm reads them."""

    def __init__(self, paths: list[Path], image_px: int):
        self.paths, self.transform = paths, create_transform(image_px, crop_pct=1.0)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def write_inputs(folder: Path, images: np.ndarray) -> dict[str, Path]:
    """Write the images in each format, and return the paths that predict is given."""
    for name in ("JPEG", "PNG", "FITS"):
        (folder / name).mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / "JPEG" / f"{i:05d}.jpg", quality=90)
        Image.fromarray(image).save(folder / "PNG" / f"{i:05d}.png")
        fits.PrimaryHDU(image.transpose(2, 0, 1)).writeto(folder / "FITS" / f"{i:05d}.fits")
    with h5py.File(folder / "images.h5", "w") as file:
        file["images"] = images
    return {**{name: folder / name for name in ("JPEG", "PNG", "FITS")}, "HDF5": folder / "images.h5"}


def bare_network(run_dir: Path, images: np.ndarray, views: int) -> Callable[[], float]:
    """Return a function that computes all views of prepared images, and returns images/s."""
    keep_freed_memory()  # of this process, so of the scripts below, too: otherwise the system clears it again
    module = load_classifier(RunFiles(run_dir).best)
    prepared = module.known_preprocessing.eval_transform(torch.from_numpy(images))

    @torch.inference_mode()
    def rate() -> float:
        start = time.perf_counter()
        for batch in prepared.split(BATCH):
            for view in tta_views(batch, views):
                module.probabilities(view)
        return len(prepared) / (time.perf_counter() - start)

    rate()
    return rate


def ours(run_dir: Path, path: Path, out: Path, *options: str) -> Callable[[], float]:
    """Return a function that runs `galaxy10 predict`, and returns images/s from the first image on."""

    def rate() -> float:
        run("-m", "galaxy10", "predict", run_dir, path, "-o", out, "--overwrite", "--no-temperature", *options)
        return float(json.loads(out.with_suffix(".json").read_text())["images_per_s"])

    return rate


def embedding(run_dir: Path, path: Path, out: Path) -> Callable[[], float]:
    """Return a function that runs `galaxy10 embed`, and returns images/s from the first image on."""

    def rate() -> float:
        run("-m", "galaxy10", "embed", run_dir, path, "-o", out, "--overwrite")
        return float(json.loads((out / "index.json").read_text())["images_per_s"])

    return rate


def script(forward: Callable[[torch.Tensor], object], paths: list[Path], image_px: int) -> Callable[[], float]:
    """Return a function that reads files with worker processes, computes them, and returns images/s."""

    @torch.inference_mode()
    def rate() -> float:
        start = time.perf_counter()
        loader = torch.utils.data.DataLoader(Files(paths, image_px), batch_size=BATCH, num_workers=os.cpu_count() or 1)
        for batch in loader:
            forward(batch)
        return len(paths) / (time.perf_counter() - start)

    return rate


def exported(network: torch.nn.Module, image_px: int, path: Path) -> Callable[[torch.Tensor], object]:
    """Return the forward pass of a network's ONNX export."""
    example = torch.rand(2, 3, image_px, image_px)
    shapes = ({0: torch.export.Dim("N")},)
    torch.onnx.export(network, (example,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.numpy()})


def main() -> None:
    given = arguments(__doc__, repeats=3, images=384)
    many = np.array(survey_store().images[: 5 * given.images])  # in memory, writable
    images = many[: given.images]
    rows: list[Row] = []
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        paths, runs = write_inputs(folder / "some", images), {}
        for network, words in NETWORKS.items():
            runs[network] = folder / network.replace(" ", "-")
            data = ["data=hdf5", f"data.path={labelled(folder, images)}", "data.balance=none", "trainer.max_epochs=1"]
            few = ["trainer.limit_train_batches=1", "run.test=false", "run.report=false", "logger=csv"]
            run(ROOT / "train.py", *data, *few, *words, f"run.dir={runs[network]}", cwd=folder)
        many_paths = write_inputs(folder / "many", many)
        lite0, out = runs["EfficientNet-Lite0"], folder / "c.parquet"
        for network, views in (("EfficientNet-Lite0", 1), ("EfficientNet-Lite0", 8), ("D4 CNN", 1)):
            bare = bare_network(runs[network], images if views > 1 else many, views)
            for kind, path in (paths if views > 1 else many_paths).items():
                measured = ours(runs[network], path, out, f"--tta-views={views}")
                title = f"predict, {network}, {kind}, {views} view{'s'[: views > 1]} ÷ bare network"
                rows.append(side_by_side(title, measured, bare, repeats=given.repeats, target=0.9))
        bare, measured = bare_network(lite0, many, 1), embedding(lite0, many_paths["HDF5"], folder / "embedded")
        title = "embed, EfficientNet-Lite0, HDF5, 1 view ÷ bare network"
        rows.append(side_by_side(title, measured, bare, repeats=given.repeats, target=0.9))
        one = ours(lite0, paths["HDF5"], out, "--tta-views=1")
        eight = ours(lite0, paths["HDF5"], out, "--tta-views=8")
        title = "predict, EfficientNet-Lite0, HDF5, time of 8 views ÷ time of 1"
        rows.append(alone(title, lambda: one() / eight(), repeats=given.repeats, unit="×", target=7))

        files, jpeg = sorted(many_paths["JPEG"].iterdir()), many_paths["JPEG"]
        network = timm.create_model("tf_efficientnet_lite0", num_classes=10).eval()
        graph = exported(network, 128, folder / "network.onnx")
        network = network.to(memory_format=torch.channels_last)
        plain = script(lambda batch: network(batch.contiguous(memory_format=torch.channels_last)), files, 128)
        for engine in ("torch", "onnx"):
            measured = ours(lite0, jpeg, out, "--tta-views=1", f"--engine={engine}")
            title = f"predict --engine {engine}, EfficientNet-Lite0, JPEG, 1 view"
            bound = 1.3 if engine == "torch" else None
            rows.append(side_by_side(f"{title} ÷ timm script", measured, plain, repeats=given.repeats, target=bound))
        onnx_script = script(graph, files, 128)
        rows.append(side_by_side(f"{title} ÷ ORT script", measured, onnx_script, repeats=given.repeats, target=1.0))
    keep("predicting", rows, given)


def labelled(folder: Path, images: np.ndarray) -> Path:
    """Return a file of the images with labels, for a run of one step."""
    path = folder / "labelled.h5"
    if not path.exists():
        with h5py.File(path, "w") as file:
            file["images"], file["ans"] = images, (np.arange(len(images)) % 10).astype(np.uint8)
    return path


if __name__ == "__main__":
    main()
