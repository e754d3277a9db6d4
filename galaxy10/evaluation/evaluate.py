"""Evaluate a trained run, or an ensemble of runs, on a labelled file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import check_evaluation_folder, open_labelled_file
from galaxy10.runs.trained import check_run

SUBSETS = ("train", "val", "test", "all")


def evaluate_run(
    run: Path,
    file: Path,
    out_dir: Path,
    subset: str | None = None,
    more_runs: Sequence[Path] = (),
    options: Any = None,
    include_trained: bool = False,
) -> dict[str, Any]:
    """Evaluate a run on a labelled file: write predictions and metrics to out_dir, and return the metrics.

    Classes are matched by name, without case, blanks, hyphens and underscores; the file may lack some of them.

    Args:
        subset: train, val, test or all; None: the run's own test subset on the file that it was trained from, all rows
            of any other file.
        more_runs: the other members of an ensemble.
        options: options of the prediction (galaxy10.prediction.options.PredictOptions); None: as in training.
        include_trained: whether to evaluate galaxies of another file that the runs were trained or validated on, too;
            they are left out otherwise.

    Returns:
        `run_dir`, `state`, `split_hash` and `test/<metric>`.

    Raises:
        Galaxy10Error: a run is not finished, does not support the options, or has another split than the first; the
            file has classes that the run does not know, or only galaxies that a run was trained on; out_dir is a run
            itself.
    """
    provenance = check_run(run)
    if subset is not None and subset not in SUBSETS:
        raise Galaxy10Error(f"--subset {subset} is not allowed; expected {', '.join(SUBSETS)}")
    check_evaluation_folder(out_dir)
    labelled = open_labelled_file(file, provenance)
    if options is not None or more_runs:
        from galaxy10.evaluation.with_options import evaluate_with_options

        result = evaluate_with_options(
            [run, *more_runs], provenance, labelled, out_dir, subset, options, include_trained
        )
    else:
        from galaxy10.evaluation.as_trained import evaluate_as_trained

        result = evaluate_as_trained(run, provenance, labelled, out_dir, subset, include_trained)
    return result
