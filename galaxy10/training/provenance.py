"""Where a result comes from: code, packages, machine, data, split and command, recorded with every run."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import galaxy10
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.split import Split
from galaxy10.data.store import Store, file_identity
from galaxy10.models.classifier import Classifier

PACKAGES = ("torch", "torchvision", "lightning", "timm", "torchmetrics", "hydra-core", "h5py", "numpy", "pandas")


def provenance(
    config: dict[str, Any],
    source: SourceFile,
    store: Store,
    split: Split,
    module: Classifier,
    weights: str,
    statistics: tuple[list[float], list[float]],
) -> dict[str, Any]:
    """The content of provenance.json."""
    data = config["data"]
    parameters = list(module.parameters())
    return {
        "galaxy10": galaxy10.__version__,
        "git": git_state(Path(galaxy10.__file__).parent),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_state(),
        "command": " ".join([Path(sys.argv[0]).name.replace("__main__.py", "galaxy10"), *sys.argv[1:]]),
        "seed": config["seed"],
        "data": {
            "path": str(source.path.resolve()),
            "name": data["name"],
            "num_images": source.num_images,
            "image_shape": [source.height, source.width, 3],
            "class_names": list(source.names),
            "identity": file_identity(source.path),
            "content": store.content,
            "pixel_mean": statistics[0],
            "pixel_std": statistics[1],
        },
        "split": {
            "hash": split.hash,
            "protocol": f"fold {data['fold']} of {data['num_folds']}" if data["num_folds"] else data["protocol"],
            "split_seed": data["split_seed"],
            "counts": split.counts(),
            "notes": list(split.notes),
        },
        "model": {
            "name": config["model"]["name"],
            "backbone": config["model"]["backbone"],
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "image_size": module.preprocessing.image_size,
            "weights": weights,
            "mean": list(module.preprocessing.mean),
            "std": list(module.preprocessing.std),
        },
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and whether files differ from it; both None outside a checkout."""

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def device_state() -> dict[str, Any]:
    """The machine's processors, as names and numbers."""
    state: dict[str, Any] = {"host": platform.node(), "cpu": _cpu_name(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        state["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return state


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
