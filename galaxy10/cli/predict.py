"""The commands of `galaxy10` for what comes after training: predict, merge, calibrate, pack, export, uncertainty."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from galaxy10.cli.output import print_result
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, signal_exit_code

logger = logging.getLogger(__name__)

app = typer.Typer()

TtaViews = Annotated[
    int | None,
    typer.Option(
        "--tta-views",
        help="flips and quarter turns to average: 1, 2, 4 or 8; default: as many as the run itself (model.tta_views)",
        show_default=False,
    ),
]
McDropout = Annotated[int, typer.Option(help="answers drawn with dropout, such as 20; 0 for none")]
Temperature = Annotated[bool, typer.Option("--temperature/--no-temperature", help="probabilities as calibrated")]
Coverage = Annotated[float, typer.Option(help="share of galaxies whose true class is to be in prediction_set")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
Stretch = Annotated[
    str,
    typer.Option(
        help="how measured light becomes a picture: auto (FITS: legacy; other floats: unit), legacy (nanomaggies, as "
        "the Legacy Surveys viewer), asinh (any unit), linear, unit (0 to 1 is a picture already)"
    ),
]


def _trust(packages: list[str] | None) -> list[str] | None:
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
        help="run this package's code if a run's checkpoint names it (also: the environment variable GALAXY10_TRUST)",
        callback=_trust,
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what has this name")]


@app.command()
def predict(
    runs_and_inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... INPUT...",
            help="one run directory, or several for an ensemble; then image files, folders, globs, HDF5 files, or "
            "tables with a column of paths",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="the catalogue: .parquet, .csv or .fits")],
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    temperature: Temperature = True,
    coverage: Coverage = 0.9,
    stretch: Stretch = "auto",
    path_column: Annotated[str | None, typer.Option(help="of an input table (default: path)")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only this part of the work, i from 0")] = None,
    batch_size: Annotated[int, typer.Option(help="images the networks see at once")] = 64,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="threads that read images (default: one per processor)")] = None,
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Evaluate images of any kind: a catalogue with honest probabilities. Killed, the same command goes on.

    Exit code 3: some images could not be read; they are listed in NAME.failed.csv, the others are in the catalogue.
    """
    from galaxy10.catalogue.predict import predict as run_predict
    from galaxy10.prediction.options import PredictOptions

    runs, words = split_runs_and_inputs(runs_and_inputs)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        temperature=temperature,
        coverage=coverage,
        stretch=stretch,
        path_column=path_column,
        batch_size=batch_size,
        device=device,
        workers=workers,
        shard=shard,
        overwrite=overwrite,
    )
    target, about = run_interruptible(lambda: run_predict(runs, words, output, options))
    finish(target, about)


@app.command()
def evaluate(
    runs_and_file: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... FILE", help="a finished run directory, or several of one split; then a labelled HDF5 file"
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="where to write")],
    subset: Annotated[
        str | None, typer.Option(help="of the run's own file: train, val, test or all (default: test)")
    ] = None,
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    temperature: Annotated[
        bool | None,
        typer.Option(
            "--temperature/--no-temperature",
            help="probabilities as calibrated; default: as in training, without, unless another of these is given",
            show_default=False,
        ),
    ] = None,
    coverage: Annotated[float | None, typer.Option(help="of the prediction sets (default: 0.9)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, …")] = None,
    trust: Trust = None,
) -> None:
    """Evaluate a trained run, or several as one, on any labelled file: metrics, tables and a page."""
    from galaxy10.evaluation.evaluate import evaluate_run
    from galaxy10.prediction.options import PredictOptions
    from galaxy10.reports.run import build_report

    *runs, file = runs_and_file
    if not runs:
        raise Galaxy10Error(f"two things are needed, a run and a file; there is only {file}")
    given = (tta_views, mc_dropout or None, temperature, coverage, device)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        temperature=temperature is not False,
        coverage=0.9 if coverage is None else coverage,
        device=device or "auto",
    )
    result = evaluate_run(
        runs[0], file, output, subset, runs[1:], options if any(x is not None for x in given) else None
    )
    logger.info(f"report  {build_report(output)}")
    print_result(result)


@app.command()
def merge(
    output: Annotated[Path, typer.Argument(help="the catalogue whose shards lie beside it, as it was given to -o")],
    overwrite: Overwrite = False,
) -> None:
    """Join the shards of a catalogue."""
    from galaxy10.catalogue.writer import merge_shards

    finish(output, merge_shards(output, overwrite))


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="a trained run directory")],
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    device: Device = "auto",
    trust: Trust = None,
) -> None:
    """Fit temperature and prediction sets to a run's validation galaxies, for one prediction mode."""
    from galaxy10.prediction.calibrate import calibrate_run

    mode, found = calibrate_run(run, tta_views, mc_dropout, device)
    result = {
        "run_dir": str(run),
        "mode": mode.key,
        "temperature": found.temperature,
        "validation_galaxies": len(found.conformal_scores),
        "loss": found.loss,
        "calibration_error": found.calibration_error,
    }
    print_result(result)


@app.command()
def uncertainty(
    runs_and_file: Annotated[
        list[Path],
        typer.Argument(metavar="RUN... FILE", help="one run, or several of one split; then a labelled HDF5 file"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the page")],
    mc_dropout: Annotated[
        int | None,
        typer.Option(help="answers drawn with dropout, 0 for none (default: 20, if the network has any)"),
    ] = None,
    coverage: Coverage = 0.9,
    device: Device = "auto",
    trust: Trust = None,
) -> None:
    """Measure every kind of uncertainty side by side: a page and a table."""
    from galaxy10.reports.uncertainty import compare_modes

    *runs, file = runs_and_file
    if not runs:
        raise Galaxy10Error(f"two things are needed, a run and a file; there is only {file}")
    print(compare_modes(runs, file, output, mc_dropout=mc_dropout, coverage=coverage, device=device))


@app.command()
def pack(
    origin: Annotated[
        Path, typer.Argument(metavar="FOLDER|TABLE", help="one folder per class, or a table with path and label")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT.h5", help="the HDF5 file to write")],
    size: Annotated[int | None, typer.Option(help="side in pixels (default: the median of the first 100)")] = None,
    stretch: Stretch = "auto",
    path_column: Annotated[str | None, typer.Option(help="of the table (default: path)")] = None,
    label_column: Annotated[str, typer.Option(help="of the table: class names, or numbers from 0")] = "label",
    overwrite: Overwrite = False,
) -> None:
    """Make a file to train from out of labelled images: `python train.py data=hdf5 data.path=OUT.h5`."""
    from galaxy10.data.pack import pack as write

    finish(
        output,
        write(
            origin,
            output,
            size=size,
            stretch=stretch,
            path_column=path_column,
            label_column=label_column,
            overwrite=overwrite,
        ),
    )


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a trained run directory")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the file to write: .onnx or .pt2")],
    tta_views: TtaViews = None,
    temperature: Temperature = True,
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Write a run as one file that takes pixels and gives probabilities; it is checked against the run first."""
    from galaxy10.prediction.export import export as write

    difference = write(run, output, tta_views=tta_views, temperature=temperature, overwrite=overwrite)
    logger.info(f"largest difference of a probability between {run} and its copy: {difference:.1e}")
    print(output)


def split_runs_and_inputs(words: list[Path]) -> tuple[list[Path], list[str]]:
    """The run directories at the beginning, and the rest.

    Raises:
        Galaxy10Error: no run at the beginning, or nothing behind the runs.
    """
    from galaxy10.runs.files import RunFiles
    from galaxy10.runs.trained import check_run

    runs = []
    for word in words:
        if not RunFiles(word).is_run():
            break
        runs.append(word)
    if not runs:
        check_run(words[0])
    if len(runs) == len(words):
        raise Galaxy10Error(f"nothing follows the run {runs[-1]}; give images, folders, an HDF5 file or a table, too")
    return runs, [str(word) for word in words[len(runs) :]]


def run_interruptible(work: Callable[[], Any]) -> Any:
    """Do something that a signal may stop: what is finished by then is kept."""
    from galaxy10.catalogue.writer import IncompleteCatalogue
    from galaxy10.runs.signals import Interrupted, interruptible

    try:
        with interruptible():
            return work()
    except IncompleteCatalogue as error:
        logger.error(f"error: {error}")
        sys.exit(ExitCode.FAILED)
    except Interrupted as interrupted:
        logger.info("stopped; the same command goes on")
        sys.exit(signal_exit_code(interrupted.number))


def finish(path: Path, about: dict[str, Any]) -> None:
    """The last line of standard output, and the exit code."""
    print(path)
    if about["failed"]:
        sys.exit(ExitCode.PARTIAL)
