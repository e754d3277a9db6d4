"""Read a run directory for reports: a missing or damaged file is noted with its reason, and raises no error.

Imports no torch, so that a report takes seconds, also on a machine that cannot train.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.foreign_files import check_parquet, check_values, load_arrays, read_yaml_mapping
from galaxy10.runs.files import RunFiles, check_format

SUBSETS = ("test", "val")
SCORED_SUBSETS = (*SUBSETS, "train")  # PCA models also predict their training images
_MISTAKES = ("rows", "labels", "predicted", "confidence")
SAMPLES = {"batch": ("rows", "labels"), "misclassified_test": _MISTAKES, "misclassified_val": _MISTAKES}
# Samples that only some runs write; their absence is not reported.
DEMONSTRATION_IMAGES = {
    "augmentation": ("rows", "labels", "variant"),  # variant 0: as in the file; 1, 2, …: augmented
    "noise": ("rows", "labels", "beta"),  # beta: standard deviation of the added noise, 0–1 scale
    "components": ("explained_variance_ratio",),
}
_PREDICTION_COLUMNS = {"row", "label", "predicted"}


@dataclass(frozen=True)
class RunRecord:
    """The content of one run directory. If a file is missing, its table is None or its mapping is empty.

    Attributes:
        curves: metrics.csv, a row per epoch.
        profile: profile.csv, a row per epoch.
        distribution: class_distribution.csv.
        scree: scree.csv, the explained variance of principal components.
        predictions: subset → table with row, label, predicted, predicted_name, p_<slug>…; a row per image.
        samples: file name → arrays of equal length n: `images` (n, h, w, 3) uint8, and values of each image.
        missing: file name → the reason why it could not be read.
        folds: the runs whose predictions this record pools, in order of their folds; empty for any other run.
    """

    path: Path
    class_names: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    split: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    profile: pd.DataFrame | None = None
    distribution: pd.DataFrame | None = None
    scree: pd.DataFrame | None = None
    predictions: dict[str, pd.DataFrame] = field(default_factory=dict)
    samples: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    folds: tuple["RunRecord", ...] = ()

    @property
    def name(self) -> str:
        """The name of the run directory; of pooled folds, all their names."""
        if self.folds:
            return " ".join(fold.name for fold in self.folds)
        return self.path.resolve().name

    @property
    def is_evaluation(self) -> bool:
        """Whether this is the evaluation of a trained run on a file, rather than a training."""
        return "trained_run" in self.provenance

    @property
    def metrics(self) -> dict[str, Any]:
        """The final metrics as `<subset>/<metric>`; a value may be None."""
        return self.section(self.status, "metrics")

    def provenance_section(self, name: str) -> dict[str, Any]:
        """Return a section of provenance.json (`data`, `split`, `model`, …); empty if it is missing."""
        return self.section(self.provenance, name)

    @staticmethod
    def section(mapping: dict[str, Any], name: str) -> dict[str, Any]:
        """Return mapping[name] if it is a dict, else an empty dict."""
        value = mapping.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def absent(self) -> list[int]:
        """The numbers of the classes that an evaluated file does not have."""
        names = set(self.provenance_section("data").get("absent_classes") or [])
        return [number for number, name in enumerate(self.class_names) if name in names]

    def name_of(self, label: int) -> str:
        """Return the name of a class, or `class <number>` if it has none."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else f"class {label}"

    def names_of(self, labels: np.ndarray) -> list[str]:
        """Return the class names of labels (n,)."""
        return [self.name_of(int(label)) for label in labels]

    def probabilities(self, subset: str) -> np.ndarray:
        """Return the class probabilities of a subset, (N, C), in class order."""
        return self.predictions[subset][probability_columns(self.predictions[subset], self.class_names)].to_numpy(float)


def read_run(path: Path) -> RunRecord:
    """Read the directory of a run or an evaluation.

    Raises:
        Galaxy10Error: path is no directory, has no files of a run, or was written by another version.
    """
    path = Path(path)
    if not path.is_dir():
        raise Galaxy10Error(f"{path} is not a folder; give the run directory that train.py printed as `run_dir`")
    missing: dict[str, str] = {}

    def read(file: Path, reader: Callable[[Path], Any]) -> Any:
        name = str(file.relative_to(path))
        try:
            return reader(file)
        except FileNotFoundError:
            missing[name] = "it is not in the run directory"
        except Exception as error:  # pandas, pyarrow, yaml and zipfile raise various exceptions for damaged files
            missing[name] = f"it cannot be read ({first_line(error)})"
        return None

    files = RunFiles(path)
    provenance = read(files.provenance, _read_json)
    check_format(path, provenance or {})
    config = read(files.config, read_yaml_mapping)
    status = read(files.status, _read_json)
    subsets = [s for s in SCORED_SUBSETS if s in SUBSETS or files.predictions(s).exists()]
    predictions = {s: read(files.predictions(s), _read_predictions) for s in subsets}
    predictions = {s: table for s, table in predictions.items() if table is not None}
    if config is None and provenance is None and status is None and not predictions:
        raise Galaxy10Error(
            f"{path} is not a run directory; expected {files.status.name}, {files.config.name} or predictions in it"
        )
    distribution = read(files.class_distribution, _read_csv)
    wanted = SAMPLES | {s: needs for s, needs in DEMONSTRATION_IMAGES.items() if files.samples(s).exists()}
    samples = {s: read(files.samples(s), partial(_read_samples, needs=needs)) for s, needs in wanted.items()}
    return RunRecord(
        path=path,
        class_names=_class_names(provenance or {}, distribution, predictions),
        config=config or {},
        provenance=provenance or {},
        status=status or {},
        split=read(files.split, _read_parquet),
        curves=read(files.metrics, _read_csv),
        profile=read(files.profile, _read_csv),
        distribution=distribution,
        scree=read(files.scree, _read_scree) if files.scree.exists() else None,
        predictions=predictions,
        samples={name: arrays for name, arrays in samples.items() if arrays is not None},
        missing=missing,
    )


def probability_columns(predictions: pd.DataFrame, class_names: tuple[str, ...]) -> list[str]:
    """Return the p_<slug> columns in class order; in the table's order if the class names do not match them."""
    expected = [f"p_{slug}" for slug in slugs(class_names)]
    if all(column in predictions for column in expected):
        return expected
    return _starting_with_p(predictions)


def _starting_with_p(table: pd.DataFrame) -> list[str]:
    return [column for column in map(str, table.columns) if column.startswith("p_")]


def _class_names(
    provenance: dict[str, Any], distribution: pd.DataFrame | None, predictions: dict[str, pd.DataFrame]
) -> tuple[str, ...]:
    data = provenance.get("data")
    names: list[str] = []
    if isinstance(data, dict) and data.get("class_names"):
        names = [str(name) for name in data["class_names"]]
    elif distribution is not None and "class_name" in distribution:
        names = [str(name) for name in distribution["class_name"]]
    elif predictions:
        table = next(iter(predictions.values()))
        names = [column.removeprefix("p_") for column in _starting_with_p(table)]
    # Every label needs a name, or the figures would silently omit galaxies.
    highest = max((int(t[["label", "predicted"]].to_numpy().max()) for t in predictions.values() if len(t)), default=-1)
    return tuple(names + [f"class {i}" for i in range(len(names), highest + 1)])


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, found {type(value).__name__}")
    check_values(value)
    return value


def _read_csv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, converters={"class_name": str})  # a class called NA is no missing value
    if table.empty:
        raise ValueError("it has no rows")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    check_parquet(path)
    return pd.read_parquet(path)


def _read_predictions(path: Path) -> pd.DataFrame:
    table = _read_parquet(path)
    if lacking := _PREDICTION_COLUMNS - set(table):
        raise ValueError(f"it has no column {', '.join(sorted(lacking))}")
    if table.empty:
        raise ValueError("it has no rows")
    return table


def _read_scree(path: Path) -> pd.DataFrame:
    table = _read_csv(path)
    if lacking := {"component", "explained_variance_ratio"} - set(table):
        raise ValueError(f"it has no column {', '.join(sorted(lacking))}")
    return table


def _read_samples(path: Path, needs: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = load_arrays(path)
    images = arrays.get("images")
    if images is None or images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError("expected `images` (n, h, w, 3) uint8")
    if lacking := [name for name in needs if name not in arrays]:
        raise ValueError(f"it has no {', '.join(lacking)}")
    if uneven := [name for name, array in arrays.items() if array.shape[:1] != images.shape[:1]]:
        raise ValueError(f"{', '.join(uneven)} and images differ in length")
    return arrays
