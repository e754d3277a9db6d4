"""The devices of this machine, found without importing torch."""

import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error


def visible_gpus() -> int:
    """Return the number of NVIDIA GPUs that this process may use, from the driver's list and CUDA_VISIBLE_DEVICES."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, len([x for x in chosen.split(",") if x.strip() not in ("", "-1", "NoDevFiles")]))


def _is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def has_accelerator() -> bool:
    """Return whether `trainer.accelerator=auto` finds a GPU, NVIDIA's or Apple's."""
    return visible_gpus() > 0 or _is_apple_silicon()


def number_of_devices(devices: Any) -> int | None:
    """Return the number of devices that `trainer.devices` requests; None for all devices.

    Raises:
        Galaxy10Error: the value is 0 or cannot be parsed.
    """
    if devices in ("auto", -1, "-1"):
        return None
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str):
        if "," in devices:
            return len([x for x in devices.split(",") if x.strip()])
        if not devices.isdigit():
            raise Galaxy10Error(f"trainer.devices={devices} is not allowed; give a number, a list as [0,1], or auto")
        devices = int(devices)
    if devices == 0:
        raise Galaxy10Error("trainer.devices=0 leaves nothing to train on; give a number from 1, or auto")
    return int(devices)


def check_devices(trainer: dict[str, Any]) -> None:
    """Check that this machine has the requested devices.

    Raises:
        Galaxy10Error: there are fewer GPUs than requested; says how many there are and what to type instead.
    """
    requested, accelerator = number_of_devices(trainer["devices"]), trainer["accelerator"]
    gpus = visible_gpus()
    if accelerator in ("gpu", "cuda") and gpus == 0 and not _is_apple_silicon():
        raise Galaxy10Error(
            f"trainer.accelerator={accelerator}, but {describe_machine(gpus)}; "
            "type trainer.accelerator=cpu to train on the CPU"
        )
    if accelerator == "mps" and not _is_apple_silicon():
        raise Galaxy10Error(
            "trainer.accelerator=mps needs a Mac with Apple silicon; type trainer.accelerator=auto for this machine"
        )
    if accelerator == "tpu" and not _is_installed("torch_xla"):
        raise Galaxy10Error("trainer.accelerator=tpu needs torch_xla; install it, or type trainer.accelerator=auto")
    strategy = trainer.get("strategy", "auto")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and gpus == 0)
    if strategy.startswith(("fsdp", "deepspeed")) and (on_cpu or gpus == 0):
        raise Galaxy10Error(f"trainer.strategy={strategy} needs NVIDIA GPUs; type trainer.strategy=auto")
    if strategy.startswith("deepspeed") and not _is_installed("deepspeed"):
        raise Galaxy10Error(f"trainer.strategy={strategy} needs deepspeed; install it, or type trainer.strategy=ddp")
    uses_mps = accelerator == "mps" or (accelerator != "cpu" and gpus == 0 and _is_apple_silicon())
    if uses_mps and strategy not in ("auto", "single_device"):
        raise Galaxy10Error(f"trainer.strategy={strategy} does not work on an Apple GPU; type trainer.strategy=auto")
    uses_gpus = accelerator in ("gpu", "cuda") or (accelerator == "auto" and gpus > 0)
    if uses_gpus and requested is not None and requested > gpus:
        raise Galaxy10Error(
            f"trainer.devices={requested}, but {describe_machine(gpus)}{_bound()}; type trainer.devices={gpus}, "
            f"or trainer.accelerator=cpu trainer.devices={requested} for {requested} processes on the CPU"
        )
    if accelerator == "auto" and gpus == 0 and requested is not None and requested > 1 and not _is_apple_silicon():
        raise Galaxy10Error(
            f"trainer.devices={requested}, but {describe_machine(gpus)}; type trainer.devices=1, "
            f"or trainer.accelerator=cpu trainer.devices={requested} for {requested} processes on the CPU"
        )


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _bound() -> str:
    """Return a hint for SLURM jobs whose tasks see one GPU each; Lightning needs to see all GPUs of the node."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or "1"
    return " for this task: ask SLURM for --gpus-per-node=…, not --gpus-per-task" if tasks != "1" else ""


def describe_machine(gpus: int) -> str:
    """Describe the machine's GPUs and CPU cores, as a clause for messages."""
    cores = os.cpu_count() or 1
    has = "no GPU" if gpus == 0 else f"{gpus} GPU{'s' if gpus > 1 else ''}"
    return f"this machine has {has} and {cores} CPU core{'s' if cores > 1 else ''}"
