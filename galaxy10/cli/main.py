"""The commands of `galaxy10`. train and sweep are here for --help; entry.py runs them."""

import logging
import shutil
import sys
from glob import glob
from pathlib import Path
from typing import Annotated

import typer

from galaxy10.cli.composed import run_composed
from galaxy10.cli.data import app as data_commands
from galaxy10.cli.evaluate import app as evaluate_commands
from galaxy10.cli.options import Output
from galaxy10.cli.output import print_error
from galaxy10.cli.predict import app as predict_commands
from galaxy10.config.user_code import describe_failure, user_code_location
from galaxy10.console import set_up_logging
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode
from galaxy10.runs.files import RunFiles

logger = logging.getLogger(__name__)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Galaxy morphology: train networks, evaluate them, make catalogues and reports.",
)

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=_PASSED_ON)
def train(context: typer.Context) -> None:
    """Train one experiment, or with -m a grid of them: galaxy10 train model=resnet50 data=galaxy10."""
    sys.exit(run_composed("train", context.args))


@app.command(context_settings=_PASSED_ON)
def sweep(context: typer.Context) -> None:
    """Search hyperparameters: galaxy10 sweep sweep=simple_cnn data=simulated sweep.n_trials=20."""
    sys.exit(run_composed("sweep", context.args))


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="NAME", help="the new folder and its package")]) -> None:
    """Create a project of your own: a network, a loss, their configuration, a test."""
    from galaxy10.cli.project import create_project

    create_project(folder)
    print(folder)
    logger.info(f"cd {folder} && galaxy10 train --config-dir conf model=mine data=simulated debug=fast")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder; default: the run directory")] = None,
) -> None:
    """Rebuild the figures and the report of a run from its directory."""
    from galaxy10.reports.run import build_report

    print(build_report(run, output))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="run directories, folders of them, or globs")],
    output: Output,
) -> None:
    """Compare runs side by side: a page and a table."""
    from galaxy10.reports.compare import compare_runs

    print(compare_runs(find_runs(runs), output))


@app.command()
def leaderboard(
    runs: Annotated[list[str], typer.Argument(help="run directories of one split, folders of them, or globs")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder of the page, Markdown and CSV")] = None,
    by: Annotated[str, typer.Option(help="accuracy or macro_f1")] = "accuracy",
) -> None:
    """Rank runs of one split by their test subset: a table, and with -o a page. Refuses what does not compare."""
    from galaxy10.reports.leaderboard import print_leaderboard, rank_runs, write_leaderboard

    board = rank_runs(find_runs(runs), by)
    print_leaderboard(board)
    if output is not None:
        print(write_leaderboard(board, output))


@app.command()
def runs(directory: Annotated[Path, typer.Argument(help="a folder of runs")] = Path("runs")) -> None:
    """List run directories: state, epoch, best metric, time left, SLURM job."""
    from galaxy10.runs.listing import print_runs

    print_runs(directory)


@app.command()
def slurm(folder: Annotated[Path, typer.Argument(help="a new folder")] = Path("slurm")) -> None:
    """Copy the SLURM job scripts; then edit account, partition and time limit at the top of job.sbatch."""
    from galaxy10.config.paths import SLURM_SCRIPTS

    if folder.exists():
        raise Galaxy10Error(f"{folder} exists already; give another folder")
    folder.mkdir(parents=True)
    for script in sorted(SLURM_SCRIPTS.glob("*.sbatch")):
        if script.name == "job.sbatch":
            shutil.copy(script, folder)
        else:
            (folder / script.name).symlink_to("job.sbatch")
    for name in ("README.md", "galaxy10.def"):
        shutil.copy(SLURM_SCRIPTS / name, folder)
    print(folder)


for commands in (predict_commands, evaluate_commands, data_commands):
    app.add_typer(commands)


@app.callback()
def before_any_command(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="also show debug messages, with times")] = False,
) -> None:
    """Handle the options that come before the command."""
    if verbose:
        set_up_logging(verbose)


def command_names() -> list[str]:
    """Return the names of all commands, in the order of --help."""
    return list(getattr(typer.main.get_command(app), "commands", {}))


def find_runs(patterns: list[str]) -> list[Path]:
    """Return the run directories that paths or globs name; a folder of runs stands for all runs in it."""
    found: list[Path] = []
    for pattern in patterns:
        for path in sorted(Path(p) for p in glob(pattern)) or [Path(pattern)]:
            inside = sorted(p.parent for p in path.glob(f"*/{RunFiles(Path()).status}"))
            found += inside if inside and not RunFiles(path).status.exists() else [path]
    return list(dict.fromkeys(found))


def main() -> None:
    """Run the typed command; an error that the user can correct is shown as one line, with exit code 2."""
    command = typer.main.get_command(app)
    try:
        set_up_logging()  # for errors before the options are parsed
        sys.exit(command.main(standalone_mode=False) or ExitCode.FINISHED)
    except Galaxy10Error as error:
        sys.exit(print_error(error))
    except Exception as error:
        if user_code_location(error):
            logger.error(f"error: {describe_failure(error)}")
            sys.exit(ExitCode.FAILED)
        if not hasattr(error, "format_message"):  # usage errors of typer and click have it
            raise
        names = [word for word in sys.argv[1:2] if word in getattr(command, "commands", {})]
        if not error.format_message():  # no command: the help was shown
            sys.exit(ExitCode.REFUSED)
        see = " ".join(["galaxy10", *names, "--help"])
        sys.exit(print_error(Galaxy10Error(f"{error.format_message().rstrip('.')}; see {see}")))
