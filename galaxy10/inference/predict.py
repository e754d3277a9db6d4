"""From pictures to a catalogue, batch by batch: the work behind `galaxy10 predict`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10 import __version__
from galaxy10.config.rules import did_you_mean
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.evaluate import check_run, run_config
from galaxy10.inference.calibration_file import checkpoint_identity, load_calibration
from galaxy10.inference.catalogue import Catalogue, check_output, shard_path
from galaxy10.inference.inputs import Inputs, find_inputs, shard_of
from galaxy10.inference.progress import watched
from galaxy10.inference.stretch import STRETCHES
from galaxy10.inference.table_files import check_columns
from galaxy10.inference.way import choose_way

if TYPE_CHECKING:
    from galaxy10.inference.judge import Judge

BATCHES_PER_PART = 4


@dataclass(frozen=True)
class Options:
    """How pictures are read and networks asked; see `galaxy10 predict --help`."""

    orientations: bool | None = None
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


def predict(runs: Sequence[Path], words: Sequence[str], output: Path, options: Options) -> tuple[Path, dict[str, Any]]:
    """Write the catalogue of all pictures that `words` stand for; its path and its record.

    Raises:
        Galaxy10Error: what is wrong with runs, inputs, options or output, before the first picture is judged.
        Unfinished: what went wrong later, such as a full disk.
    """
    check_output(output)
    check_options(options)
    shard = parse_shard(options.shard) if options.shard is not None else None
    temperatures = check_runs(runs, options)
    inputs = find_inputs(words, options.stretch, options.path_column)
    check_columns(output.suffix.lower(), inputs.columns.column_names)
    target = shard_path(output, *shard) if shard else output
    catalogue = Catalogue(target, _plan(runs, temperatures, inputs, options, shard))
    about = None if options.overwrite else catalogue.finished()
    if about is not None:
        return target, about
    catalogue.check_name(options.overwrite)
    from galaxy10.inference.judge import Judge  # torch: not before inputs and output are known to be right

    judge = Judge(runs, options)
    with catalogue.writing(options.overwrite) as about:
        if about is None:
            about = _fill(catalogue, inputs, judge, shard_of(len(inputs), options.batch_size, shard or (0, 1)))
    return target, about


def _fill(catalogue: Catalogue, inputs: Inputs, judge: "Judge", mine: range) -> dict[str, Any]:
    """Judge what is not judged yet, and finish the catalogue."""
    size = judge.options.batch_size * BATCHES_PER_PART
    parts = [range(start, min(start + size, mine.stop)) for start in range(mine.start, mine.stop, size)] or [mine]
    missing = [number for number in range(len(parts)) if not catalogue.has(number)]
    done = before = sum(len(part) for part in parts) - sum(len(parts[number]) for number in missing)
    if before:
        print(f"going on behind {before:,} of {len(mine):,} images", file=sys.stderr)
    start = time.perf_counter()
    with watched("judging galaxies", len(mine), done) as tell:
        for number, table, failures in judge.parts(inputs, {number: parts[number] for number in missing}):
            catalogue.add(number, table, failures)
            done += len(parts[number])
            tell(done)
    rate = (done - before) / max(time.perf_counter() - start, 1e-9)
    about = catalogue.finish(len(parts), {**judge.record(), "images_per_s": round(rate, 1)})
    told = f", {about['failed']:,} could not be read: {catalogue.failed_path}" if about["failed"] else ""
    print(f"{about['catalogued']:,} of {len(mine):,} images judged{told} ({rate:,.1f} images/s)", file=sys.stderr)
    return about


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
        if options.mc_dropout and not model.get("dropout"):
            raise Galaxy10Error(
                f"{run} (model={model['name']}) has no dropout to sample from; leave out --mc-dropout, or train a "
                "network that has, such as model=simple_cnn or model.dropout=0.2"
            )
        if options.temperature:
            way = choose_way(int(model["views"]), options.orientations, options.mc_dropout)
            try:
                temperatures.append(load_calibration(run, way).temperature)
            except Galaxy10Error as error:
                raise Galaxy10Error(f"{error}{else_type}") from error
    return temperatures if options.temperature else None


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` as numbers, i from 0."""
    index, _, number = text.partition("/")
    if not (index.isdigit() and number.isdigit() and int(index) < int(number)):
        raise Galaxy10Error(f"--shard {text} is not allowed; give i/n with i from 0 to n − 1, such as 0/8")
    return int(index), int(number)


def _plan(
    runs: Sequence[Path],
    temperatures: Sequence[float] | None,
    inputs: Inputs,
    options: Options,
    shard: tuple[int, int] | None,
) -> dict[str, Any]:
    """Everything that decides what will be in the catalogue."""
    return {
        "galaxy10": __version__,
        "networks": [checkpoint_identity(run) for run in runs],
        "temperatures": temperatures,
        "inputs": inputs.digest(),
        "images": len(inputs),
        "orientations": options.orientations,
        "mc_dropout": options.mc_dropout,
        "coverage": options.coverage,
        "stretch": options.stretch,
        "batch_size": options.batch_size,
        "shard": list(shard) if shard else None,
    }
