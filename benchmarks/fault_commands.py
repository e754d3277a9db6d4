"""What benchmarks/fault_matrix.py disturbs: seven commands, and what each must have made in the end."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from PIL import Image

from galaxy10.files import read_json
from galaxy10.runs.listing import list_runs

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for the servers and the warm process of the tests
CLASSES, PER_CLASS, SIZE_PX = 3, 20, 32
SHORT = (
    "data=hdf5", "data.path=g.h5", "data.batch_size=8", "model=timm", "model.backbone=test_resnet",
    "model.pretrained=false", "model.image_size=32", "model.tta_views=1", "trainer.max_epochs=3", "logger=csv",
    "run.report=false",
)  # fmt: skip
SWEEP = """
name: tiny
n_trials: 2
sampler: random
pruner: none
space:
  optimizer:
    lr: {low: 0.001, high: 0.01, log: true}
"""
DOWNLOAD = """
import sys
from pathlib import Path
from galaxy10.console import set_up_logging
from galaxy10.transfer import download_file
set_up_logging()
download_file(sys.argv[1], Path("downloaded.bin"), timeout_s=2)
"""

Result = dict[str, object]


@dataclass(frozen=True)
class Command:
    """A command, run in a folder of its own.

    Attributes:
        words: a script or -m module and its arguments.
        result: what it made, as values that are equal if two results are.
        made: the file that a second start would refuse to replace; None if the command may always be repeated.
    """

    name: str
    words: tuple[str, ...]
    result: Callable[[Path], Result]
    made: str | None = None


def commands(address: str) -> list[Command]:
    """Return the commands; `address` is that of a file to download."""
    train, sweep = str(ROOT / "train.py"), str(ROOT / "sweep.py")
    return [
        Command("train", (train, *SHORT, "run.dir=r"), lambda work: _run(work / "r")),
        Command("grid", (train, "-m", *SHORT, "seed=0,1", "run.root=grid"), lambda work: _runs(work / "grid")),
        Command(
            "study",
            (sweep, "--config-dir", "conf", "sweep=tiny", "sweep.dir=study", *SHORT[:-1]),
            lambda work: _runs(work / "study"),
        ),
        Command(
            "predict",
            ("-m", "galaxy10", "predict", "trained", "images", "-o", "c.parquet", "--batch-size", "4"),
            lambda work: {"catalogue": _table(work / "c.parquet")},
        ),
        Command(
            "embed",
            ("-m", "galaxy10", "embed", "trained", "images", "-o", "e", "--batch-size", "4"),
            lambda work: _embedded(work / "e"),
        ),
        Command("pack", ("-m", "galaxy10", "pack", "images", "p.h5"), lambda work: _packed(work / "p.h5"), "p.h5"),
        Command(
            "download", ("download.py", address), lambda work: {"file": _hash((work / "downloaded.bin").read_bytes())}
        ),
    ]


def write_inputs(folder: Path) -> None:
    """Write what the commands read: a labelled file, the same galaxies in folders by class, and a study's settings."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    images = rng.integers(0, 60, (len(labels), SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        image[10:22, 10:22, label] += np.uint8(80)
        place = folder / "images" / f"class{label}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    with h5py.File(folder / "g.h5", "w") as file:
        file["images"], file["ans"] = images, labels.astype(np.uint8)
    (folder / "conf" / "sweep").mkdir(parents=True)
    (folder / "conf" / "sweep" / "tiny.yaml").write_text(SWEEP)
    (folder / "download.py").write_text(DOWNLOAD)


def _runs(folder: Path) -> Result:
    """Return the results of all runs below a folder; a run that is not finished is one difference."""
    found: Result = {}
    for run in list_runs(folder):
        name = run.path.relative_to(folder)
        found |= {f"{name}/{key}": value for key, value in _run(run.path).items()} | {f"{name}/state": run.state}
    return found


def _run(run: Path) -> Result:
    weights = {path.name: torch.load(path, weights_only=True) for path in (run / "checkpoints").glob("*.ckpt")}
    return {
        "metrics.csv": (run / "metrics.csv").read_text(),
        **{
            path.name: _table(path) for path in (run / "predictions").glob("*.parquet")
        },  # a trial of a study has no test
        "calibration": read_json(run / "calibration.json").get("modes"),
        **{name: _hash(b"".join(_bytes(state["state_dict"]))) for name, state in weights.items()},
    }


def _bytes(state: dict[str, torch.Tensor]) -> Iterator[bytes]:
    for name in sorted(state):
        yield state[name].contiguous().numpy().tobytes()


def _table(path: Path) -> str:
    return _hash(pd.read_parquet(path).to_csv().encode())


def _embedded(folder: Path) -> Result:
    return {"features": _hash((folder / "features.npy").read_bytes()), "index": _table(folder / "index.parquet")}


def _packed(path: Path) -> Result:
    with h5py.File(path) as file:
        return {name: _hash(np.ascontiguousarray(file[name][:]).tobytes()) for name in ("images", "ans")}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
