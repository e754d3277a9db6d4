"""With this folder in PYTHONPATH, each Python process that imports torch adds a line to the file $COUNT_TORCH_IMPORTS.

A fork of a process that has imported torch has not imported it, and adds none.
"""

import os
import sys


class TorchImport:
    """Finds no module, but notices that torch is being imported: its `torch._C` is looked for by nobody else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "torch._C":
            sys.meta_path.remove(TorchImport)
            with open(os.environ["COUNT_TORCH_IMPORTS"], "a") as file:
                file.write(f"{os.getpid()} {' '.join(sys.orig_argv)[:120]!r}\n")


if "COUNT_TORCH_IMPORTS" in os.environ:
    sys.meta_path.insert(0, TorchImport)
