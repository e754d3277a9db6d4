"""The commands that use trained runs: predict, embed, merge, export."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from galaxy10.cli.options import (
    BatchSize,
    Coverage,
    Device,
    Engine,
    Hdu,
    Laplace,
    McDropout,
    Overwrite,
    PathColumn,
    PerClass,
    Prior,
    Stretch,
    Temperature,
    Trust,
    TtaViews,
    parse_batch_size,
)
from galaxy10.cli.output import finish
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, signal_exit_code

logger = logging.getLogger(__name__)

app = typer.Typer()


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
    laplace: Laplace = 0,
    temperature: Temperature = True,
    prior: Prior = "none",
    coverage: Coverage = 0.9,
    per_class: PerClass = False,
    stretch: Stretch = "auto",
    hdu: Hdu = None,
    path_column: PathColumn = None,
    shard: Annotated[str | None, typer.Option(help="i/n: predict only shard i of n, i from 0")] = None,
    batch_size: BatchSize = "64",
    device: Device = "auto",
    engine: Engine = "torch",
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
        laplace=laplace,
        temperature=temperature,
        prior=prior,
        coverage=coverage,
        per_class=per_class,
        stretch=stretch,
        hdu=hdu,
        path_column=path_column,
        batch_size=parse_batch_size(batch_size),
        device=device,
        engine=engine,
        workers=workers,
        shard=shard,
        overwrite=overwrite,
    )
    target, about = run_interruptible(lambda: run_predict(runs, inputs, output, options))
    finish(target, about)


@app.command()
def embed(
    run_and_inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] INPUT...",
            help="a run directory, unless --model is given; then inputs as of predict: image files, folders, globs, "
            "HDF5 files, or tables with a column of paths",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    model: Annotated[
        str | None,
        typer.Option(help="a pretrained network without a run: convnext_nano, zoobot_euclid …, or any name of timm"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="its weights: file, folder or hf_hub:OWNER/NAME (default: package, cache, hub)")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="side of its input in pixels (default: as its weights were trained)")
    ] = None,
    tta_views: Annotated[
        int, typer.Option("--tta-views", help="number of flips and quarter turns to average: 1, 2, 4 or 8")
    ] = 1,
    stretch: Stretch = "auto",
    hdu: Hdu = None,
    path_column: PathColumn = None,
    shard: Annotated[str | None, typer.Option(help="i/n: embed only shard i of n, i from 0")] = None,
    batch_size: BatchSize = "64",
    device: Device = "auto",
    engine: Engine = "torch",
    workers: Annotated[int | None, typer.Option(help="threads that read images (default: one per CPU core)")] = None,
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Write the features of images: float16, memory-mappable, with an index. If it was killed, run it again.

    Exit code 3: some images could not be read; they are listed in index.failed.csv, the others are embedded.
    """
    from galaxy10.catalogue.embed import NetworkChoice
    from galaxy10.catalogue.embed import embed as run_embed
    from galaxy10.prediction.options import PredictOptions

    run, inputs = split_run_and_inputs(run_and_inputs, model)
    if run is not None and (weights is not None or image_size is not None):
        option = "--weights" if weights is not None else "--image-size"
        raise Galaxy10Error(f"{option} belongs to --model, and {run} has its own; leave it out")
    options = PredictOptions(
        tta_views=tta_views,
        temperature=False,
        stretch=stretch,
        hdu=hdu,
        path_column=path_column,
        batch_size=parse_batch_size(batch_size),
        device=device,
        engine=engine,
        workers=workers,
        shard=shard,
        overwrite=overwrite,
    )
    choice = NetworkChoice(run, model, weights, image_size)
    target, about = run_interruptible(lambda: run_embed(choice, inputs, output, options))
    finish(target, about)


@app.command()
def merge(
    output: Annotated[
        Path,
        typer.Argument(
            help="the -o of predict or embed; the shards of a catalogue are beside it, those of embeddings in it"
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Join the shards of a catalogue, or of embeddings."""
    from galaxy10.catalogue.embeddings import has_shards, index_path, merge_embeddings
    from galaxy10.catalogue.writer import merge_shards

    if has_shards(output):
        finish(index_path(output), merge_embeddings(output, overwrite))
    else:
        finish(output, merge_shards(output, overwrite))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a trained run directory")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the file to write: .onnx or .pt2")],
    tta_views: TtaViews = None,
    temperature: Temperature = True,
    prior: Prior = "none",
    overwrite: Overwrite = False,
    trust: Trust = None,
) -> None:
    """Export a run to one file that maps pixels to probabilities, after comparing it with the run."""
    from galaxy10.prediction.export import export as write

    difference = write(run, output, tta_views=tta_views, temperature=temperature, overwrite=overwrite, prior=prior)
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


def split_run_and_inputs(paths: list[Path], model: str | None) -> tuple[Path | None, list[str]]:
    """Split the arguments of embed into the run, or None with --model, and the inputs.

    Raises:
        Galaxy10Error: there is neither a run nor --model, or both, or there are several runs, or there is no input.
    """
    from galaxy10.runs.files import RunFiles

    if model is None:
        if not RunFiles(paths[0]).is_run():
            raise Galaxy10Error(
                f"{paths[0]} is no run directory; give one before the inputs, or a pretrained network, such as "
                "--model efficientnet_lite0"
            )
        runs, inputs = split_runs_and_inputs(paths)
        if len(runs) > 1:
            raise Galaxy10Error(f"features are those of one network; leave out {', '.join(map(str, runs[1:]))}")
        return runs[0], inputs
    if RunFiles(paths[0]).is_run():
        raise Galaxy10Error(f"--model {model} and the run {paths[0]} are two networks; leave out one of them")
    return None, [str(path) for path in paths]


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
