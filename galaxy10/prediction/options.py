"""How trained networks are used on images: the options of `galaxy10 predict`, and whether some runs can follow them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from galaxy10.config.fields import did_you_mean
from galaxy10.data.stretch import STRETCHES
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.calibration_file import load_calibration
from galaxy10.prediction.mode import resolve_mode
from galaxy10.runs.trained import check_run, run_config


@dataclass(frozen=True)
class Options:
    """How pictures are read and networks asked; see `galaxy10 predict --help`."""

    tta_views: int | None = None
    mc_dropout: int = 0
    temperature: bool = True
    coverage: float = 0.9
    stretch: str = "auto"
    path_column: str | None = None
    batch_size: int = 64
    device: str = "auto"
    workers: int | None = None
    shard: str | None = None
    overwrite: bool = False


def check_options(options: Options) -> None:
    """Refuse values that mean nothing."""
    if not 0 < options.coverage < 1:
        raise Galaxy10Error(f"--coverage {options.coverage:g} is not allowed; give a share from 0 to 1, such as 0.9")
    if options.mc_dropout < 0 or options.mc_dropout == 1:
        raise Galaxy10Error(f"--mc-dropout {options.mc_dropout} is not allowed; give at least 2 samples, such as 20")
    if options.stretch not in STRETCHES:
        nearest = did_you_mean(options.stretch, list(STRETCHES))
        raise Galaxy10Error(f"--stretch {options.stretch} is not known{nearest}; there are {', '.join(STRETCHES)}")
    for name, value in (("--batch-size", options.batch_size), ("--workers", options.workers)):
        if value is not None and value < 1:
            raise Galaxy10Error(f"{name} {value} is not allowed; give a number from 1")


def check_runs(
    runs: Sequence[Path], options: Options, else_type: str = ", or add --no-temperature here"
) -> list[float] | None:
    """The temperatures of runs for the way they are to be asked; None without.

    Args:
        else_type: what else could be typed where a run is not calibrated for this way.

    Raises:
        Galaxy10Error: no trained run, one that is not calibrated for this way, no dropout to sample from.
    """
    temperatures = []
    for run in runs:
        check_run(run)
        model = run_config(run)["model"]
        if options.mc_dropout and not model.get("dropout") and "network" not in model:
            raise Galaxy10Error(
                f"{run} (model={model['name']}) has no dropout to sample from; leave out --mc-dropout, or train a "
                "network that has, such as model=simple_cnn or model.dropout=0.2"
            )
        if options.temperature:
            way = resolve_mode(int(model["tta_views"]), options.tta_views, options.mc_dropout)
            try:
                temperatures.append(load_calibration(run, way).temperature)
            except Galaxy10Error as error:
                raise Galaxy10Error(f"{error}{else_type}") from error
    return temperatures if options.temperature else None
