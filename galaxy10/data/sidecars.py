"""Files beside an output with its stem: NAME.json and NAME.failed.csv, and the output that they belong to."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json

CATALOGUE_SUFFIXES = (".parquet", ".csv", ".fits")
_PACKED = (".h5", ".hdf5")

Failure = tuple[str, int, str]  # path, row, reason


def failed_path(output: Path) -> Path:
    """Return the path of the table of images that could not be read."""
    return output.with_suffix(".failed.csv")


def record_path(output: Path) -> Path:
    """Return the path of a catalogue's record: its runs, options, and file name (`output`)."""
    return output.with_suffix(".json")


def parts_path(output: Path) -> Path:
    """Return the folder of a catalogue's parts while it is being made."""
    return output.with_name(f"{output.name}.parts")


def read_failures(path: Path) -> Iterator[Failure]:
    """Yield the lines of a table of failures; none if there is no file."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for line in csv.DictReader(file):
            yield line["path"], int(line["row"]), line["reason"]


def write_failures(path: Path, failures: Iterable[Failure]) -> int:
    """Write a table of failures, and return how many there are."""
    number = 0
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "row", "reason"))
        for number, failure in enumerate(failures, start=1):  # noqa: B007
            writer.writerow(failure)
    return number


def check_catalogue_sidecars(output: Path) -> None:
    """Check that a catalogue overwrites no sidecar of another output.

    Raises:
        Galaxy10Error: a sidecar belongs to a catalogue with another suffix, or to a packed file.
    """
    record, failed = record_path(output), failed_path(output)
    for suffix in CATALOGUE_SUFFIXES:
        other = output.with_suffix(suffix)
        if suffix != output.suffix.lower() and parts_path(other).exists():
            raise _taken(parts_path(other), other, output)
    about = read_json(record)
    if record.exists() and "plan" not in about:
        raise Galaxy10Error(f"{record} exists already and belongs to no catalogue; give another name than {output}")
    owner = _owner(output, about) or output
    if about and owner.name != output.name and owner.exists():
        raise _taken(record, owner, output)
    packed = next((p for s in _PACKED if (p := output.with_suffix(s)).exists()), None)
    if packed and failed.exists() and not about.get("failed") and not parts_path(output).exists():
        raise _taken(failed, packed, output)


def check_packed_sidecars(output: Path) -> None:
    """Check that a packed file's table of failures overwrites no catalogue's table.

    Raises:
        Galaxy10Error: the table belongs to a catalogue.
    """
    about = read_json(record_path(output))
    owner = _owner(output, about) if about.get("failed") else None
    if owner and owner.exists() and failed_path(output).exists():
        raise _taken(failed_path(output), owner, output)


def _owner(output: Path, about: dict[str, Any]) -> Path | None:
    """Return the catalogue beside an output that a record names; None if it names none, or a file elsewhere."""
    name = about.get("output")
    return output.with_name(name) if name and isinstance(name, str) and name == Path(name).name else None


def _taken(path: Path, owner: Path, output: Path) -> Galaxy10Error:
    free = output.with_name(f"{output.stem}_{output.suffix[1:]}{output.suffix}")
    return Galaxy10Error(f"{path} belongs to {owner}, not to {output}; give another name, such as {free}")
