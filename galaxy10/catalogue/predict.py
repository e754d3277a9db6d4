"""Write a catalogue of predictions: `galaxy10 predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy10.catalogue.table_io import check_columns
from galaxy10.catalogue.writer import Catalogue, check_catalogue_path, shard_path
from galaxy10.classes import slugs
from galaxy10.data.inputs import Inputs, find_inputs, shard_of
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.options import INT8, PredictOptions, check_options, check_runs
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import checkpoint_hash
from galaxy10.version import __version__


def predict(
    runs: Sequence[Path], paths: Sequence[str], output: Path, options: PredictOptions
) -> tuple[Path, dict[str, Any]]:
    """Write the catalogue of all images under `paths`, and return the path and the record of the catalogue.

    paths: files, folders, glob patterns, HDF5 files or tables of paths, as on the command line.

    Raises:
        Galaxy10Error: runs, paths, options or output are not valid; nothing was written.
        IncompleteCatalogue: an error after the first image, such as a full disk.
    """
    check_catalogue_path(output)
    check_options(options)
    shard = parse_shard(options.shard) if options.shard is not None else None
    calibrations = check_runs(runs, options)
    inputs = find_inputs(paths, options.stretch, options.path_column, options.hdu)
    classes = (RunFiles(runs[0]).read_provenance().get("data") or {}).get("class_names") or []
    check_columns(output.suffix.lower(), [*inputs.schema.names, *(f"p_{slug}" for slug in slugs(classes))])
    target = shard_path(output, *shard) if shard else output
    mine = shard_of(len(inputs), options.batch_size or 1, shard or (0, 1))
    catalogue = Catalogue(target, _plan(runs, calibrations, inputs, options, shard, mine))
    record = None if options.overwrite else catalogue.finished()
    if record is not None:
        return target, record
    catalogue.check_name(options.overwrite)
    from galaxy10.catalogue.parts import fill  # imports torch; inputs and output are checked before
    from galaxy10.catalogue.predictor import Predictor

    predictor = Predictor(runs, options)
    if options.engine == INT8:
        predictor.quantize(inputs)
    with catalogue.writing(options.overwrite) as record:
        if record is None:
            record = fill(catalogue, inputs, predictor, mine)
    return target, record


def parse_shard(text: str) -> tuple[int, int]:
    """Return i and n of a shard `i/n`, with 0 ≤ i < n.

    Raises:
        Galaxy10Error: the text is not of this form.
    """
    index, _, number = text.partition("/")
    if not (index.isdigit() and number.isdigit() and int(index) < int(number)):
        raise Galaxy10Error(f"--shard {text} is not allowed; give i/n with i from 0 to n − 1, such as 0/8")
    return int(index), int(number)


def _plan(
    runs: Sequence[Path],
    calibrations: Sequence[Calibration] | None,
    inputs: Inputs,
    options: PredictOptions,
    shard: tuple[int, int] | None,
    mine: range,
) -> dict[str, Any]:
    """Return everything that determines the content of the catalogue; mine: the images of the shard."""
    used = [c if options.temperature else c.without_temperature() for c in calibrations or ()]
    smoothing = [c.label_smoothing_removed for c in used]
    prior = [c.log_offsets for c in used] if options.prior != "none" else None
    return {
        "galaxy10": __version__,
        "networks": [checkpoint_hash(run) for run in runs],
        "temperatures": [c.temperature for c in used] if options.temperature else None,
        **({"label_smoothing_removed": smoothing} if any(smoothing) else {}),
        **({"prior": [options.prior, *prior]} if prior else {}),
        **({"engine": options.engine} if options.engine != "torch" else {}),
        "inputs": inputs.digest(),
        "file_sizes": inputs.file_sizes(mine),
        "images": len(inputs),
        "tta_views": options.tta_views,
        "mc_dropout": options.mc_dropout,
        **({"laplace": options.laplace} if options.laplace else {}),
        "coverage": options.coverage,
        "per_class": options.per_class,
        "stretch": options.stretch,
        "hdu": options.hdu,
        "batch_size": options.batch_size or "auto",
        "shard": list(shard) if shard else None,
    }
