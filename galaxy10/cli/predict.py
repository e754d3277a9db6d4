"""The commands for trained runs: predict, evaluate, merge, calibrate, uncertainty, export; and pack."""

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
        help="number of flips and quarter turns to average: 1, 2, 4 or 8; default: model.tta_views of the run",
        show_default=False,
    ),
]
McDropout = Annotated[int, typer.Option(help="number of Monte Carlo dropout samples, such as 20; 0 for none")]
Temperature = Annotated[bool, typer.Option("--temperature/--no-temperature", help="calibrate the probabilities")]
Coverage = Annotated[float, typer.Option(help="fraction of galaxies whose prediction_set contains the true class")]
PerClass = Annotated[
    bool, typer.Option("--per-class", help="prediction sets whose coverage holds for each class, also for rare ones")
]
IncludeTrained = Annotated[
    bool, typer.Option("--include-trained", help="evaluate galaxies that a run was trained or validated on, too")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")]
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
        help="allow a checkpoint to run code of this package (or set the environment variable GALAXY10_TRUST)",
        callback=_trust,
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing output")]


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
    per_class: PerClass = False,
    stretch: Stretch = "auto",
    hdu: Hdu = None,
    path_column: Annotated[str | None, typer.Option(help="column of paths in an input table (default: path)")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: predict only shard i of n, i from 0")] = None,
    batch_size: Annotated[int, typer.Option(help="images per forward pass")] = 64,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="threads that read images (default: one per CPU core)")] = None,
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Predict new images: a catalogue with calibrated probabilities. If it was killed, run it again: it resumes.

    Exit code 3: some images could not be read; they are listed in NAME.failed.csv, the others are in the catalogue.
    """
    from galaxy10.catalogue.predict import predict as run_predict
    from galaxy10.prediction.options import PredictOptions

    runs, inputs = split_runs_and_inputs(runs_and_inputs)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        temperature=temperature,
        coverage=coverage,
        per_class=per_class,
        stretch=stretch,
        hdu=hdu,
        path_column=path_column,
        batch_size=batch_size,
        device=device,
        workers=workers,
        shard=shard,
        overwrite=overwrite,
    )
    target, about = run_interruptible(lambda: run_predict(runs, inputs, output, options))
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
        str | None, typer.Option(help="subset of the run's own file: train, val, test or all (default: test)")
    ] = None,
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    temperature: Annotated[
        bool | None,
        typer.Option(
            "--temperature/--no-temperature",
            help="calibrate the probabilities (default: only if another prediction option is given)",
            show_default=False,
        ),
    ] = None,
    coverage: Annotated[float | None, typer.Option(help="coverage of the prediction sets (default: 0.9)")] = None,
    per_class: PerClass = False,
    include_trained: IncludeTrained = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, …")] = None,
    trust: Trust = None,
) -> None:
    """Evaluate a trained run, or several as an ensemble, on a labelled file: metrics, tables and a page."""
    from galaxy10.evaluation.evaluate import evaluate_run
    from galaxy10.prediction.options import PredictOptions
    from galaxy10.reports.run import build_report

    *runs, file = runs_and_file
    if not runs:
        raise Galaxy10Error(f"a run and a file are needed, but there is only {file}; type RUN FILE")
    given = (tta_views, mc_dropout or None, temperature, coverage, per_class or None, device)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        temperature=temperature is not False,
        coverage=0.9 if coverage is None else coverage,
        per_class=per_class,
        device=device or "auto",
    )
    used = options if any(x is not None for x in given) else None
    result = evaluate_run(runs[0], file, output, subset, runs[1:], used, include_trained)
    logger.info(f"report  {build_report(output)}")
    print_result(result)


@app.command()
def merge(
    output: Annotated[Path, typer.Argument(help="the catalogue, as given to -o of predict; its shards are beside it")],
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
        "validation_galaxies": found.num_galaxies,
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
        typer.Option(help="number of Monte Carlo dropout samples, 0 for none (default: 20 if the network has dropout)"),
    ] = None,
    coverage: Coverage = 0.9,
    per_class: PerClass = False,
    include_trained: IncludeTrained = False,
    device: Device = "auto",
    trust: Trust = None,
) -> None:
    """Measure every kind of uncertainty side by side: a page and a table."""
    from galaxy10.reports.uncertainty import compare_modes

    *runs, file = runs_and_file
    if not runs:
        raise Galaxy10Error(f"two things are needed, a run and a file; there is only {file}")
    page = compare_modes(
        runs,
        file,
        output,
        mc_dropout=mc_dropout,
        coverage=coverage,
        per_class=per_class,
        include_trained=include_trained,
        device=device,
    )
    print(page)


@app.command()
def pack(
    origin: Annotated[
        Path, typer.Argument(metavar="FOLDER|TABLE", help="one folder per class, or a table with path and label")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT.h5", help="the HDF5 file to write")],
    size: Annotated[
        int | None, typer.Option(help="side in pixels (default: the median of the first 100 images)")
    ] = None,
    stretch: Stretch = "auto",
    hdu: Hdu = None,
    path_column: Annotated[str | None, typer.Option(help="column of paths in the table (default: path)")] = None,
    label_column: Annotated[str, typer.Option(help="column of class names, or numbers, in the table")] = "label",
    class_level: Annotated[
        int | None,
        typer.Option(
            help="1: the folders are the classes; 2: the folders inside them (default: 2 for train, val, test, else 1)",
            show_default=False,
        ),
    ] = None,
    coordinates: Annotated[
        bool, typer.Option("--coordinates/--no-coordinates", help="keep the table's ra and dec")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Pack labelled images into an HDF5 file for training: `python train.py data=hdf5 data.path=OUT.h5`."""
    from galaxy10.data.pack import pack as write

    finish(
        output,
        write(
            origin,
            output,
            size=size,
            stretch=stretch,
            hdu=hdu,
            path_column=path_column,
            label_column=label_column,
            class_level=class_level,
            coordinates=coordinates,
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
    """Export a run to one file that maps pixels to probabilities, after comparing it with the run."""
    from galaxy10.prediction.export import export as write

    difference = write(run, output, tta_views=tta_views, temperature=temperature, overwrite=overwrite)
    logger.info(f"largest difference in probability between {run} and {output}: {difference:.1e}")
    print(output)


def split_runs_and_inputs(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """Split arguments into the run directories at the beginning, and the inputs.

    Raises:
        Galaxy10Error: the first path is no run, or no input follows the runs.
    """
    from galaxy10.runs.files import RunFiles
    from galaxy10.runs.trained import check_run

    runs = []
    for path in paths:
        if not RunFiles(path).is_run():
            break
        runs.append(path)
    if not runs:
        check_run(paths[0])
    if len(runs) == len(paths):
        raise Galaxy10Error(f"no input follows the run {runs[-1]}; add images, folders, an HDF5 file or a table")
    return runs, [str(path) for path in paths[len(runs) :]]


def run_interruptible(work: Callable[[], Any]) -> Any:
    """Run a function that signals may stop; exit after a signal or with an incomplete catalogue, which is kept."""
    from galaxy10.catalogue.writer import IncompleteCatalogue
    from galaxy10.runs.signals import Interrupted, interruptible

    try:
        with interruptible():
            return work()
    except IncompleteCatalogue as error:
        logger.error(f"error: {error}")
        sys.exit(ExitCode.FAILED)
    except Interrupted as interrupted:
        logger.info("stopped; run the same command again to resume")
        sys.exit(signal_exit_code(interrupted.number))


def finish(path: Path, about: dict[str, Any]) -> None:
    """Print the path of the output, and exit with code 3 if some inputs failed."""
    print(path)
    if about["failed"]:
        sys.exit(ExitCode.PARTIAL)
