"""The device that computes, by the name that users give it."""

import torch

from galaxy10.errors import Galaxy10Error


def computes_on_cpu(name: str, engine: str = "torch") -> bool:
    """Return whether a CPU computes on the device of a name; ONNX Runtime's auto is the CPU."""
    return not name.startswith("cuda") if engine != "torch" else choose_device(name).type == "cpu"


def choose_device(name: str, engine: str = "torch") -> torch.device:
    """Return the device of a name; auto: a GPU if there is one. ONNX Runtime takes tensors on the CPU.

    Raises:
        Galaxy10Error: the device is unknown or not available.
    """
    if engine != "torch":
        return torch.device("cpu")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        raise Galaxy10Error(
            f"--device {name} is not available on this machine; type --device auto or --device cpu"
        ) from error
    return device
