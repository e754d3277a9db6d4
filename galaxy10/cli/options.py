"""Options that several commands of `galaxy10` have."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from galaxy10.errors import Galaxy10Error

Output = Annotated[Path, typer.Option("-o", "--output", help="where to write")]
StoreDir = Annotated[Path | None, typer.Option(help="folder of the file's memory-mapped store")]
PathColumn = Annotated[str | None, typer.Option(help="column of paths in an input table (default: path)")]
TtaViews = Annotated[
    int | None,
    typer.Option(
        "--tta-views",
        help="number of flips and quarter turns to average: 1, 2, 4 or 8; default: model.tta_views of the run",
        show_default=False,
    ),
]
McDropout = Annotated[int, typer.Option(help="number of Monte Carlo dropout samples, such as 20; 0 for none")]
Laplace = Annotated[
    int,
    typer.Option(
        help="number of samples of the last layer's weights (Laplace approximation), such as 100; 0 for none; needs "
        "galaxy10 calibrate with the same option once"
    ),
]
BatchSize = Annotated[
    str, typer.Option(help="images per forward pass, or auto: the fastest on this machine, measured at the start")
]
Temperature = Annotated[bool, typer.Option("--temperature/--no-temperature", help="calibrate the probabilities")]
Prior = Annotated[
    str,
    typer.Option(
        help="class prior of the probabilities: none (of the training epochs, after data.balance), natural (of the "
        "training galaxies), uniform (every class equally frequent), fitted (for the best macro-F1 of the "
        "validation galaxies)"
    ),
]
Coverage = Annotated[float, typer.Option(help="fraction of galaxies whose prediction_set contains the true class")]
PerClass = Annotated[
    bool, typer.Option("--per-class", help="prediction sets whose coverage holds for each class, also for rare ones")
]
IncludeTrained = Annotated[
    bool, typer.Option("--include-trained", help="evaluate galaxies that a run was trained or validated on, too")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Engine = Annotated[
    str,
    typer.Option(
        help="torch; onnx: ONNX Runtime on the CPU, or with --device cuda on a GPU, on CPUs about twice as fast for "
        "EfficientNet; onnx-int8: in 8 bits, again twice as fast on CPUs with VNNI, and less exact (both need "
        "galaxy10[export])"
    ),
]
Stretch = Annotated[
    str,
    typer.Option(
        help="how raw flux values are stretched to 8 bits: auto (FITS: legacy, or asinh if BUNIT is "
        "another unit; other floats: unit), legacy "
        "(nanomaggies, as in the Legacy Surveys viewer), asinh (any unit), linear, unit (values from 0 to 1)"
    ),
]

Hdu = Annotated[
    str | None,
    typer.Option(
        help="name or number of the image in FITS files that have several, or three for blue, green and red: g,r,z "
        "(default: SCI, or the extensions named g, r, z)",
        show_default=False,
    ),
]


def trust_packages(packages: list[str] | None) -> list[str] | None:
    """Let checkpoints run code of these packages and of those that GALAXY10_TRUST names."""
    from galaxy10.config.paths import import_from_working_directory
    from galaxy10.config.trust import trust
    from galaxy10.config.user_code import trusted_packages

    trust(packages or [])
    if trusted_packages():
        import_from_working_directory()
    return packages


Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="PACKAGE",
        help="allow a checkpoint to run code of this package (or set the environment variable GALAXY10_TRUST)",
        callback=trust_packages,
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing output")]


def parse_batch_size(text: str) -> int | None:
    """Return the number of --batch-size, or None for auto.

    Raises:
        Galaxy10Error: it is neither.
    """
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise Galaxy10Error(f"--batch-size {text} is not allowed; give a number, such as 64, or auto") from None


@contextmanager
def named_as_options(*same: str, **others: str) -> Iterator[None]:
    """Make errors about settings of `data` name the options of a command, `--key value` for `data.key=value`.

    Args:
        same: the settings that the command takes as options of the same name; settings that it does not take stay.
        others: the options of other names, by setting; "" for an argument.

    Raises:
        Galaxy10Error: with the new names.
    """
    names = {name: name for name in same} | others

    def option(match: re.Match[str]) -> str:
        if match[1] not in names:
            return match[0]
        name = names[match[1]].replace("_", "-")
        return f"--{name}{' ' if match[2] else ''}" if name else ""

    try:
        yield
    except Galaxy10Error as error:
        raise Galaxy10Error(re.sub(r"\bdata\.(\w+)(=?)", option, str(error)).replace(", or null", "")) from error
