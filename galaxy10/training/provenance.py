"""Provenance of a run: code, packages, machine, data, split and command."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import galaxy10
from galaxy10.metrics.specs import metric_specs
from galaxy10.models.classifier import Classifier

PACKAGES = ("torch", "torchvision", "lightning", "timm", "torchmetrics", "hydra-core", "h5py", "numpy", "pandas")


def provenance(
    config: dict[str, Any], data: Mapping[str, Mapping[str, Any]], module: Classifier, weights: str
) -> dict[str, Any]:
    """Return the content of provenance.json.

    Args:
        data: the sections `data` and `split` (galaxy10.data.record).
        weights: description of the network's initial weights.
    """
    parameters = list(module.parameters())
    preprocessing = module.preprocessing
    return {
        "galaxy10": galaxy10.__version__,
        "git": git_state(Path(galaxy10.__file__).parent),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_state(),
        "command": " ".join([Path(sys.argv[0]).name.replace("__main__.py", "galaxy10"), *sys.argv[1:]]),
        "seed": config["seed"],
        **data,
        "model": {
            "name": config["model"]["name"],
            "backbone": config["model"]["backbone"],
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "image_size": module.model_config["image_size"] if module.model_config else None,
            "weights": weights,
            **({"init_from": module.init_record} if module.init_record else {}),
            "mean": list(preprocessing.mean) if preprocessing else None,
            "std": list(preprocessing.std) if preprocessing else None,
            "interpolation": preprocessing.interpolation if preprocessing else None,
        },
        "metrics": [spec.to_dict() for spec in metric_specs(config["metrics"])],
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit and whether tracked files differ from it (dirty); both None outside of a git checkout."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def device_state() -> dict[str, Any]:
    """Return the host name, CPU, torch's threads and, if there are any, GPUs of this machine."""
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
