"""Embeddings on disk: features and an index, written in numbered parts so that a kill loses one part at most.

features.npy          (N, D) float16, to be memory-mapped
index.parquet         path, row and further columns of each line of features.npy
index.failed.csv      path, row and reason of each image that could not be read
index.json            the record: weights, inputs, options and numbers of images
index.parquet.parts/  plan.json, batch_size.json and the parts, until the embeddings are complete

A shard has files of its own: features.0-of-4.npy, index.0-of-4.parquet and so on.
"""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from galaxy10.catalogue.writer import OF_A_SHARD, Catalogue, merge_shards, shard_path
from galaxy10.data.array_files import join_arrays, write_array
from galaxy10.data.sidecars import CATALOGUE_SUFFIXES, Failure, parts_path, record_path
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.files import read_json, remove_leftovers_of

if TYPE_CHECKING:
    import pandas as pd

# The column of a part that becomes a file of its own: D float16 as bytes. No input has a column of this name.
FEATURES = "\0features"
_SHARD = re.compile(r"index\.\d+-of-\d+\.parquet")


def index_path(folder: Path, shard: tuple[int, int] | None = None) -> Path:
    """Return the path of the index in a folder of embeddings, or of the index of a shard (i, n)."""
    index = folder / "index.parquet"
    return shard_path(index, *shard) if shard else index


def features_path(index: Path) -> Path:
    """Return the path of the features that belong to an index."""
    return index.with_name("features" + index.stem.removeprefix("index") + ".npy")


def has_shards(folder: Path) -> bool:
    """Return whether a folder holds shards of embeddings."""
    return folder.is_dir() and any(_SHARD.fullmatch(path.name) for path in folder.iterdir())


def check_folder(folder: Path) -> None:
    """Check that an output can be a folder.

    Raises:
        Galaxy10Error: it is a file, or has the suffix of one.
    """
    if folder.is_file() or (folder.suffix.lower() in (*CATALOGUE_SUFFIXES, ".npy") and not folder.is_dir()):
        raise Galaxy10Error(f"-o {folder} is a file; give the folder to write, such as -o {folder.with_suffix('')}")


class Embeddings(Catalogue):
    """Embeddings, from the first part to the finished files; `output` is the index."""

    def finished(self) -> dict[str, Any] | None:
        """Return the record if the same embeddings are complete already, else None."""
        return super().finished() if features_path(self.output).exists() else None

    def check_name(self, overwrite: bool) -> None:
        """Check that no other embeddings and no other file of the features' name are in the folder.

        Raises:
            Galaxy10Error: there are.
        """
        super().check_name(overwrite)
        features = features_path(self.output)
        if features.exists() and not (overwrite or self.output.exists() or self.parts.exists()):
            raise Galaxy10Error(f"{features} exists already and has no index; give another -o, or --overwrite")
        if not overwrite:
            self._check_others()

    def _check_others(self) -> None:
        """Check that the whole and the shards in the folder come from one command but for --shard."""
        own = {key: self.plan.get(key) for key in OF_A_SHARD}
        for path in sorted(self.output.parent.glob("index*.json")):
            plan = read_json(path).get("plan")
            if isinstance(plan, dict) and (other := self._differing(plan | own)):
                raise Galaxy10Error(
                    f"{self.output.parent} holds embeddings of another command ({path.name}, {other}); give another "
                    "-o, or --overwrite"
                )

    def add(self, number: int, table: pa.Table, failures: Sequence[Failure]) -> None:
        """Write one part: its features, then its lines; the part counts once its lines are there."""
        column = table[FEATURES]
        raw = b"".join(value.as_py() for value in column)
        features = np.frombuffer(raw, np.float16).reshape(len(table), column.type.byte_width // 2)
        write_array(self._features(number), features)
        super().add(number, table.drop_columns([FEATURES]), failures)

    def finish(self, number_of_parts: int, more: dict[str, Any]) -> dict[str, Any]:
        """Join and remove the parts, and return the record."""
        remove_leftovers_of(features_path(self.output))  # they may be large
        join_arrays(features_path(self.output), [self._features(number) for number in range(number_of_parts)])
        return super().finish(number_of_parts, more)

    def _features(self, number: int) -> Path:
        return self._part(number).with_suffix(".npy")


def merge_embeddings(folder: Path, overwrite: bool) -> dict[str, Any]:
    """Join the shards in a folder of embeddings, and return the record; the shards are kept.

    Raises:
        Galaxy10Error: a shard is missing, unfinished or of another command.
    """
    index = index_path(folder)
    if not has_shards(folder):
        raise Galaxy10Error(
            f"{folder} holds no shards of embeddings; write them with galaxy10 embed … -o {folder} --shard 0/4 …"
        )

    def join_features(shards: Sequence[Path]) -> None:
        remove_leftovers_of(features_path(index))  # they may be large
        record_path(index).unlink(missing_ok=True)  # until the new index is there, the features have none
        join_arrays(features_path(index), [features_path(shard) for shard in shards])

    return merge_shards(index, overwrite, join_features)


def read_embeddings(folder: str | PathLike[str]) -> "tuple[np.memmap, pd.DataFrame]":
    """Read the embeddings that `galaxy10 embed` wrote.

    Returns:
        The features (N, D) float16, memory-mapped and read-only, and the index: path, row and further columns of each
        of the N images.

    Raises:
        Galaxy10Error: the folder holds no embeddings, they are not finished, their shards are not merged, or the files
            do not belong together.
    """
    import pandas as pd

    index = index_path(Path(folder))
    features = features_path(index)
    if parts_path(index).exists():
        raise Galaxy10Error(f"the embeddings in {folder} are not finished; run the same galaxy10 embed command again")
    if not (index.exists() and features.exists() and record_path(index).exists()):
        if has_shards(Path(folder)):
            raise Galaxy10Error(f"{folder} holds shards of embeddings; join them with galaxy10 merge {folder}")
        raise Galaxy10Error(
            f"{folder} holds no embeddings ({features.name}, {index.name}); give the -o of galaxy10 embed"
        )
    try:
        array: Any = np.load(features, mmap_mode="r")
        table = pd.read_parquet(index)
    except (OSError, ValueError) as error:
        raise Galaxy10Error(f"{folder} is damaged ({first_line(error)}); run galaxy10 embed --overwrite") from error
    catalogued = read_json(record_path(index)).get("catalogued")
    if not len(array) == len(table) == catalogued:
        raise Galaxy10Error(
            f"{features} has {len(array):,} lines, {index} {len(table):,}, and its record says {catalogued}; "
            "run galaxy10 embed --overwrite"
        )
    return array, table
