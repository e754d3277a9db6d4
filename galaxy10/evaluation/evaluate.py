"""A trained run judged on a labelled file, by the same code and numbers as in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy10.data.hdf5 import open_source
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import check_output, match_classes
from galaxy10.runs.trained import check_run

SUBSETS = ("train", "val", "test", "all")


def evaluate_run(
    run: Path,
    file: Path,
    out_dir: Path,
    subset: str | None = None,
    more_runs: Sequence[Path] = (),
    options: Any = None,
) -> dict[str, Any]:
    """Write predictions and metrics to out_dir; the metrics, with directory, state and split hash.

    Classes are matched by name. On the file the run was trained from, only the run's own test subset is judged
    unless another subset is asked for; on any other file, all of it.

    Args:
        more_runs: the other members of an ensemble.
        options: how the networks are asked (galaxy10.prediction.options.Options); None: as in training.

    Raises:
        Galaxy10Error: no finished run, another file's classes, an output folder that is a run itself, runs that
            cannot be asked like this or have different splits.
    """
    about = check_run(run)
    class_names = tuple(about["data"]["class_names"])
    if subset is not None and subset not in SUBSETS:
        raise Galaxy10Error(f"--subset {subset} is not allowed; expected {', '.join(SUBSETS)}")
    check_output(out_dir)
    source, labels = match_classes(open_source(file, key="FILE"), class_names)
    if options is not None or more_runs:
        from galaxy10.evaluation.with_options import score_uncertain

        result = score_uncertain([run, *more_runs], about, source, labels, out_dir, subset, options)
    else:
        from galaxy10.evaluation.as_trained import score_file

        result = score_file(run, about, source, labels, out_dir, subset)
    return result
