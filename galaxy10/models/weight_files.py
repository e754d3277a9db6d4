"""Files of weights: found in a folder, and read as tensors and nothing else."""

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.runs.files import RunFiles

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# In a folder with several: the usual names, and the best epoch of one of this project's runs.
_USUAL = ("model.safetensors", "pytorch_model.bin", str(RunFiles(Path()).best))
# Where other programs keep the tensors inside what they save.
_INSIDE = ("state_dict", "model_state_dict", "model", "network", "encoder")


def locate_weights(weights: Path) -> Path:
    """The file that model.weights names: itself, or the one in that folder. Imports nothing heavy.

    Raises:
        Galaxy10Error: there is none, or more than one.
    """
    if not weights.exists():
        raise Galaxy10Error(f"model.weights={weights} does not exist; give a file ({', '.join(SUFFIXES)}) or a folder")
    if weights.is_file():
        if weights.suffix not in SUFFIXES:
            raise Galaxy10Error(f"model.weights={weights} is no file of weights; expected {', '.join(SUFFIXES)}")
        if weights.stat().st_size == 0:
            raise Galaxy10Error(f"model.weights={weights} is empty (0 bytes); copy or download it again")
        return weights
    for name in _USUAL:
        if (weights / name).is_file():
            return weights / name
    found = sorted(file for file in weights.iterdir() if file.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise Galaxy10Error(f"model.weights={weights} holds several files of weights ({names}); name one of them")
    there = sorted(file.name for file in weights.iterdir())
    listed = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    raise Galaxy10Error(
        f"model.weights={weights} holds no file of weights ({', '.join(SUFFIXES)}), only {listed or 'nothing at all'}"
    )


def read_file(path: Path) -> Any:
    """What a file of weights holds, read without running any code that may be in it.

    Raises:
        Galaxy10Error: it is damaged, no file of weights, or holds more than plain values and tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how the file was pickled
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _first_byte(path) in (b"\x80", b"P"):  # a pickle, or one in an archive
            raise Galaxy10Error(
                f"{path} holds more than tensors and is not loaded, as it could run code; where you trust it, save its "
                "tensors alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
            ) from error
        raise Galaxy10Error(f"{path} is damaged or no file of weights; copy or download it again") from error
    except (
        SafetensorError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
    ) as error:
        raise Galaxy10Error(
            f"{path} is damaged or no file of weights ({first_line(error)}); copy or download it again"
        ) from error


def tensors_in(content: Any, path: Path) -> "dict[str, Tensor]":
    """The tensors by name in what was read, out of the containers that training programs wrap them in.

    Raises:
        Galaxy10Error: there are none.
    """
    from torch import Tensor

    for _ in range(3):  # some are wrapped twice
        inner = next((content[key] for key in _INSIDE if _holds_mapping(content, key)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise Galaxy10Error(
            f"{path} holds no tensors by name; save a network's state_dict: torch.save(m.state_dict(), …)"
        )
    return tensors


def _holds_mapping(content: Any, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), dict) and bool(content[key])


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)
