"""Read small files that come from anybody: a damaged or hostile one raises ValueError before it fills the memory."""

import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_VALUES, _DEPTH = 1_000_000, 100
_ARRAY_BYTES = 2**30


def check_values(value: Any) -> None:
    """Check that plain containers are no larger than a configuration is, counted as if every reference were a copy.

    A file of a few lines can refer to one list again and again, and to itself.

    Raises:
        ValueError: there are more than a million values, or more than 100 levels.
    """
    stack, number = [(value, 0)], 0
    while stack:
        node, depth = stack.pop()
        inside = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple | set) else ()
        number += len(inside)
        if number > _VALUES or depth > _DEPTH:
            raise ValueError("it refers to itself, or holds more values than any configuration")
        stack.extend((item, depth + 1) for item in inside)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file of plain values; tags of Python objects are refused.

    Raises:
        ValueError: the file is no YAML, or holds something else or too much.
        OSError: the file cannot be read.
    """
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, found {type(value).__name__}")
    check_values(value)
    return value


def load_arrays(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of an .npz file; Python objects in it are refused.

    Raises:
        ValueError: the arrays would take more than 1 GiB.
        Exception: the file is damaged.
    """
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _ARRAY_BYTES:
            raise ValueError("it would unpack to more than 1 GiB")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def is_legacy_checkpoint(path: Path) -> bool:
    """Return whether torch would read a file in its format of 2017, which versions before 2.6 unpickle as they find it.

    There, weights_only=True does not hold: CVE-2025-32434.
    """
    return tarfile.is_tarfile(path)


def check_parquet(path: Path, texts: bool = False) -> None:
    """Check that a Parquet file has no more rows than bytes: a table whose rows differ cannot have more.

    Args:
        texts: also check that all texts are UTF-8, which reads the file.

    Raises:
        ValueError: it has more rows, or other texts.
        Exception: the file is damaged.
    """
    import pyarrow.parquet as pq

    about = pq.read_metadata(path)
    rows = max(about.num_rows, sum(about.row_group(group).num_rows for group in range(about.num_row_groups)))
    size = path.stat().st_size
    if rows > size:
        raise ValueError(f"{rows:,} rows in a file of {size:,} bytes")
    if texts:
        pq.read_table(path).validate(full=True)
