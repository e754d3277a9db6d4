"""trainer.precision=auto: chosen by processor, architecture and input size, never by a timing within the run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from galaxy10.models.timm_registry import architecture_of
from galaxy10.runs.directory import RunDirectory

AMPERE = 8  # the first CUDA compute capability with bfloat16 units
# The smallest input size (px) at which a network trains faster in bfloat16 than in float32, on a CPU with bfloat16
# instructions; None: at no size. Measured by benchmarks/precision_table.py. Other networks train in float32.
BF16_FROM_PX: dict[str, int | None] = {
    "resnet18": 64,
    "resnet50": 64,
    "inception_v3": 75,
    "convnext_tiny": 64,
    "vit_small_patch16_224": 224,
    "simple_cnn": 84,
    "d4_cnn": 64,
    "d4_resnet": 64,
    "plain_cnn": 64,
    "plain_resnet": 64,
    "tf_efficientnet_lite0": None,
    "efficientnet_b0": None,
    "pca_logreg": None,
}
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 twice, Arm


@dataclass(frozen=True)
class Precision:
    """The precision of a run: Lightning's name for it, and the reason for the choice."""

    name: str
    reason: str


def resolve_precision(config: dict[str, Any], directory: RunDirectory, image_px: int) -> Precision:
    """Return the precision of a run; a resumed run keeps its first precision, also on another machine.

    image_px: the side of the network's input.
    """
    requested, model = config["trainer"]["precision"], config["model"]
    recorded = _recorded(directory.files.read_provenance())
    if requested == "auto" and recorded and directory.last_checkpoint.exists():
        return recorded
    return choose_precision(requested, config["trainer"]["accelerator"], model["backbone"] or model["name"], image_px)


def trained_precision(about: dict[str, Any], config: dict[str, Any]) -> Any:
    """Return the precision of a trained run, from its provenance or else from its configuration."""
    recorded = _recorded(about)
    return recorded.name if recorded else config["trainer"]["precision"]


def _recorded(about: dict[str, Any]) -> Precision | None:
    training = about.get("training") or {}
    return Precision(training["precision"], training["precision_reason"]) if "precision" in training else None


def choose_precision(requested: Any, accelerator: str, backbone: str, image_px: int) -> Precision:
    """Return the precision for Lightning.

    Args:
        requested: `trainer.precision`; anything but auto is used unchanged.
        accelerator: `trainer.accelerator`.
        backbone: the network's name, of timm or of this project.
        image_px: the side of the network's input.
    """
    if requested != "auto":
        return Precision(str(requested), "set by trainer.precision")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        oldest = min(torch.cuda.get_device_capability(i)[0] for i in range(torch.cuda.device_count()))
        if oldest >= AMPERE:
            return Precision("bf16-mixed", "this GPU has bfloat16 units")
        return Precision("32-true", "GPUs from before Ampere have no bfloat16 units")
    if accelerator in ("gpu", "mps", "tpu") or (accelerator == "auto" and torch.backends.mps.is_available()):
        return Precision("32-true", "bfloat16 was not measured on this kind of device")
    if not cpu_has_bf16():
        return Precision("32-true", "this CPU has no bfloat16 instructions")
    architecture = architecture_of(backbone)
    if architecture not in BF16_FROM_PX:
        return Precision("32-true", f"{architecture} was not measured in bfloat16 on CPUs")
    smallest = BF16_FROM_PX[architecture]
    if smallest is None or image_px < smallest:
        return Precision("32-true", f"{architecture} at {image_px} px is no faster in bfloat16 on CPUs")
    return Precision("bf16-mixed", f"{architecture} at {image_px} px is faster in bfloat16 on this CPU")


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this CPU has bfloat16 instructions; without them, bfloat16 is emulated and slow."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not _CPU_FLAGS.isdisjoint(flags.split())
