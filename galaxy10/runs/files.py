"""The file names of a run directory, and functions that read and write its small files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from galaxy10.errors import Galaxy10Error, first_line, system_reason
from galaxy10.files import atomic_write, read_json, write_json
from galaxy10.foreign_files import read_yaml_mapping
from galaxy10.version import __version__

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2  # of run directories: increased with every change that other versions would misread


class RunFiles:
    """The paths of a run's files, whether or not they exist. The directory of an evaluation has the same names.

    Args:
        path: the run directory; with `Path()`, the attributes are paths relative to any run directory.
    """

    def __init__(self, path: Path):
        self.path = path = Path(path)
        self.config = path / "config.yaml"
        self.provenance = path / "provenance.json"
        self.status = path / "status.json"
        self.lock = path / "lock.json"
        self.pruned = path / "pruned.json"
        self.split = path / "split.parquet"
        self.known_galaxies = path / "known_galaxies.parquet"
        self.class_distribution = path / "class_distribution.csv"
        self.metrics = path / "metrics.csv"
        self.profile = path / "profile.csv"
        self.scree = path / "scree.csv"
        self.regularization = path / "regularization.csv"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.pca_arrays = self.checkpoints / "pca.npz"
        self.calibration = path / "calibration.json"
        self.laplace = path / "laplace.npz"
        self.validation_features = path / "validation_features.npz"
        self.figures = path / "figures"
        self.report = path / "report.html"
        self.profiler = path / "profiler"
        self.wandb = path / "wandb"
        self.tensorboard = path / "tensorboard"
        self.traceback = path / "traceback.txt"

    def predictions(self, subset: str) -> Path:
        """Return the path of the prediction table of a subset: train, val or test."""
        return self.path / "predictions" / f"{subset}.parquet"

    def validation_samples(self, mode: str) -> Path:
        """Return the path of the validation predictions in another mode than the run's own.

        Args:
            mode: key of the mode, such as `views=1 dropout=20`.
        """
        return self.path / "predictions" / f"val_{mode.replace('=', '').replace(' ', '_')}.npz"

    def samples(self, name: str) -> Path:
        """Return the path of images for the report: batch, augmentation, noise, components, misclassified_val, …."""
        return self.path / "samples" / f"{name}.npz"

    def is_run(self) -> bool:
        """Return whether the directory has a provenance.json or config.yaml."""
        return self.provenance.exists() or self.config.exists()

    def read_config(self) -> dict[str, Any]:
        """Return the run's configuration; an empty dict if there is none.

        Raises:
            Galaxy10Error: config.yaml is damaged.
        """
        try:
            return read_yaml_mapping(self.config)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            if reason := system_reason(error):
                raise Galaxy10Error(f"{self.config} {reason}") from error
            raise Galaxy10Error(f"{self.config} cannot be read ({first_line(error)}); restore the file") from error

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the run's resolved configuration."""
        with atomic_write(self.config) as part:
            part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def read_status(self) -> dict[str, Any]:
        """Return the content of status.json; an empty dict if it is missing or unreadable."""
        return read_json(self.status)

    def write_status(self, status: dict[str, Any]) -> None:
        """Write status.json."""
        write_json(self.status, status)

    def read_provenance(self) -> dict[str, Any]:
        """Return the content of provenance.json, of any format; an empty dict if it is missing or unreadable."""
        return read_json(self.provenance)

    def write_provenance(self, about: dict[str, Any]) -> None:
        """Write provenance.json, with the format of the run directory."""
        write_json(self.provenance, {"format": FORMAT, **about})

    def read_split(self) -> "pd.DataFrame":
        """Return the split table: row, label, subset, fold, group, reason."""
        import pandas as pd  # not for --help

        return pd.read_parquet(self.split)

    def write_split(self, table: "pd.DataFrame") -> None:
        """Write the split table."""
        with atomic_write(self.split) as part:
            table.to_parquet(part, index=False)

    def read_known_galaxies(self) -> "pd.DataFrame | None":
        """Return subset, pixel_hash, ra and dec of the training and validation galaxies; None if it is not recorded."""
        import pandas as pd

        return pd.read_parquet(self.known_galaxies) if self.known_galaxies.exists() else None

    def write_known_galaxies(self, table: "pd.DataFrame") -> None:
        """Write the table of training and validation galaxies."""
        with atomic_write(self.known_galaxies) as part:
            table.to_parquet(part, index=False)

    def read_predictions(self, subset: str) -> "pd.DataFrame":
        """Return the prediction table of a subset."""
        import pandas as pd

        return pd.read_parquet(self.predictions(subset))

    def write_predictions(self, subset: str, table: "pd.DataFrame") -> None:
        """Write the prediction table of a subset."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = pa.Table.from_pandas(table, preserve_index=False)
        # The string type depends on the version of pandas.
        fields = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in columns.schema]
        with atomic_write(self.predictions(subset)) as part:
            pq.write_table(columns.cast(pa.schema(fields, columns.schema.metadata)), part)

    def split_hash(self) -> str | None:
        """Return the hash of the split that the run was trained or evaluated on; None if unknown."""
        return (self.read_provenance().get("split") or {}).get("hash")


def check_format(path: Path, about: dict[str, Any]) -> None:
    """Check that this version of galaxy10 can read a run directory.

    Args:
        about: content of provenance.json; an empty dict, as of a run that was killed early, is accepted.

    Raises:
        Galaxy10Error: the directory has another format, or none; names the version and commit that wrote it.
    """
    if not about or about.get("format") == FORMAT:
        return
    commit = (about.get("git") or {}).get("commit")
    made = f"galaxy10 {about.get('galaxy10') or 'of an unknown version'}"
    made += f", commit {commit[:12]}" if commit else ""
    found = f"format {about['format']}" if "format" in about else "a format without number"
    raise Galaxy10Error(
        f"{path} was written by {made}, in {found}, but this version ({__version__}) reads format {FORMAT}; "
        "use the version that wrote it, or train again"
    )
