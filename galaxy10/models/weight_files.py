"""Find a file of weights, and read its tensors without running code."""

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10.errors import Galaxy10Error, first_line, system_reason
from galaxy10.foreign_files import is_legacy_checkpoint
from galaxy10.runs.files import RunFiles

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# Preferred in a folder with several files: the usual names, and the best epoch of a run directory.
_PREFERRED = ("model.safetensors", "pytorch_model.bin", str(RunFiles(Path()).best))
# Keys under which training programs save the tensors.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "network", "encoder")


def locate_weights(weights: Path) -> Path:
    """Return the file of weights that model.weights names: the path itself, or the only one in a folder.

    Raises:
        Galaxy10Error: there is no file of weights, or more than one.
    """
    if not weights.exists():
        raise Galaxy10Error(f"model.weights={weights} does not exist; give a file ({', '.join(SUFFIXES)}) or a folder")
    if weights.is_file():
        if weights.suffix not in SUFFIXES:
            raise Galaxy10Error(f"model.weights={weights} is no file of weights; expected {', '.join(SUFFIXES)}")
        if weights.stat().st_size == 0:
            raise Galaxy10Error(f"model.weights={weights} is empty (0 bytes); copy or download it again")
        return weights
    for name in _PREFERRED:
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


def read_weights(path: Path) -> Any:
    """Return the contents of a file of weights, without running any code in the file.

    Raises:
        Galaxy10Error: the file is damaged, no file of weights, or holds more than plain values and tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if is_legacy_checkpoint(path):
        raise Galaxy10Error(f"{path} is a tar archive, which could run code; save it again with torch 1.6 or newer")
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _first_byte(path) in (b"\x80", b"P"):  # a pickle, or one in an archive
            raise Galaxy10Error(
                f"{path} holds more than tensors and is not loaded, as it could run code; if you trust it, save "
                "only its tensors: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
            ) from error
        raise Galaxy10Error(f"{path} is damaged or no file of weights; copy or download it again") from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        if reason := system_reason(error):
            raise Galaxy10Error(f"{path} {reason}") from error
        raise Galaxy10Error(
            f"{path} is damaged or no file of weights ({first_line(error)}); copy or download it again"
        ) from error
    except Exception as error:  # of the unpickler, whose message would not help
        raise Galaxy10Error(f"{path} is damaged or no file of weights; copy or download it again") from error


def tensors_in(content: Any, path: Path) -> "dict[str, Tensor]":
    """Return the tensors by name, taken out of the containers that training programs wrap them in.

    Raises:
        Galaxy10Error: there are no tensors.
    """
    from torch import Tensor

    for _ in range(3):  # some are wrapped twice
        inner = next((content[key] for key in _STATE_DICT_KEYS if _holds_mapping(content, key)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise Galaxy10Error(
            f"{path} holds no named tensors; save a network's state_dict: torch.save(m.state_dict(), …)"
        )
    return tensors


def _holds_mapping(content: Any, key: str) -> bool:
    return isinstance(content, dict) and isinstance(content.get(key), dict) and bool(content[key])


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)
