"""The commands that measure trained runs: evaluate, calibrate, uncertainty."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from galaxy10.cli.options import (
    Coverage,
    Device,
    Engine,
    IncludeTrained,
    Laplace,
    McDropout,
    Output,
    PerClass,
    Prior,
    Trust,
    TtaViews,
)
from galaxy10.cli.output import print_result
from galaxy10.errors import Galaxy10Error

logger = logging.getLogger(__name__)

app = typer.Typer()


@app.command()
def evaluate(
    runs_and_file: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN... FILE", help="a finished run directory, or several of one split; then a labelled HDF5 file"
        ),
    ],
    output: Output,
    subset: Annotated[
        str | None, typer.Option(help="subset of the run's own file: train, val, test or all (default: test)")
    ] = None,
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    laplace: Laplace = 0,
    temperature: Annotated[
        bool | None,
        typer.Option(
            "--temperature/--no-temperature",
            help="calibrate the probabilities (default: only if another prediction option is given)",
            show_default=False,
        ),
    ] = None,
    prior: Prior = "none",
    coverage: Annotated[float | None, typer.Option(help="coverage of the prediction sets (default: 0.9)")] = None,
    per_class: PerClass = False,
    include_trained: IncludeTrained = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, …")] = None,
    engine: Engine = "torch",
    trust: Trust = None,
) -> None:
    """Evaluate a trained run, or several as an ensemble, on a labelled file: metrics, tables and a page."""
    from galaxy10.evaluation.evaluate import evaluate_run
    from galaxy10.prediction.options import PredictOptions
    from galaxy10.reports.run import build_report

    *runs, file = runs_and_file
    if not runs:
        raise Galaxy10Error(f"a run and a file are needed, but there is only {file}; type RUN FILE")
    given = (
        tta_views,
        mc_dropout or None,
        laplace or None,
        temperature,
        coverage,
        per_class or None,
        device,
        None if prior == "none" else prior,
        None if engine == "torch" else engine,
    )
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        laplace=laplace,
        temperature=temperature is not False,
        prior=prior,
        coverage=0.9 if coverage is None else coverage,
        per_class=per_class,
        device=device or "auto",
        engine=engine,
    )
    used = options if any(x is not None for x in given) else None
    result = evaluate_run(runs[0], file, output, subset, runs[1:], used, include_trained)
    logger.info(f"report  {build_report(output)}")
    print_result(result)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="a trained run directory")],
    tta_views: TtaViews = None,
    mc_dropout: McDropout = 0,
    laplace: Laplace = 0,
    prior: Prior = "none",
    device: Device = "auto",
    trust: Trust = None,
) -> None:
    """Fit temperature, class priors and prediction sets to a run's validation galaxies, for one prediction mode.

    All priors are fitted; --prior chooses the one that is printed. With --laplace, the distribution of the last layer's
    weights is first fitted to the training galaxies, once for any number of samples and views.
    """
    from galaxy10.prediction.calibrate import calibrate_run

    mode, found = calibrate_run(run, tta_views, mc_dropout, device, prior, laplace)
    result = {
        "run_dir": str(run),
        "mode": mode.key,
        **found.record(prior),
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
    laplace: Annotated[
        int | None,
        typer.Option(
            help="number of samples of the last layer's weights, 0 for none (default: 100 if the network ends in a "
            "linear layer)"
        ),
    ] = None,
    prior: Prior = "none",
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
        laplace=laplace,
        coverage=coverage,
        per_class=per_class,
        prior=prior,
        include_trained=include_trained,
        device=device,
    )
    print(page)
