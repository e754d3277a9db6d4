"""What kind of file a name stands for: a table, an HDF5 file or an image; the content decides."""

import gzip
import re
import warnings
import zlib
from itertools import takewhile
from pathlib import Path

import h5py

from galaxy10.data.images import SUFFIXES

_TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".ecsv", ".vot")  # of what kind, the content says
_TEXTS = (".txt", ".dat", ".lis", ".list", ".asc", ".tbl")
_HDF5 = (".h5", ".hdf5", ".he5")
_FITS = (".fits", ".fit", ".fts")
SEPARATORS = (",", ";", "\t", "|")
_PATH = re.compile(r"""(?:^|[,;|\t])[ "]*path[ "]*(?:$|[,;|\t])""")  # among the columns of a header
GZIP = b"\x1f\x8b"
_HEAD = 4096  # bytes


def is_table(path: Path) -> bool:
    """Return whether a file is a table and not an image or an HDF5 file.

    Names that end as those of images do (but FITS) are images, and those of tables are tables; otherwise the content
    decides: Parquet, ECSV, VOTable, FITS whose first unit is a table, or a text whose first line names
    columns.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_TABLES):
        return True
    if name.endswith(_FITS):
        return path.is_file() and _holds_a_table(path)
    if name.endswith((*SUFFIXES, *_HDF5)):
        return False
    return path.is_file() and _names_columns(beginning(path), name.endswith(_TEXTS))


def is_hdf5(path: Path) -> bool:
    """Return whether a file is an HDF5 file, by its name or its content."""
    name = path.name.lower()
    if name.endswith(_HDF5):
        return True
    return not name.endswith((*SUFFIXES, *_TABLES)) and path.is_file() and bool(h5py.is_hdf5(path))


def beginning(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed if it is a gzip; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(GZIP):
            with gzip.open(path, "rb") as unpacked:
                head = unpacked.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return b""
    return head


def table_format(head: bytes) -> str:
    """Return the format of a table that begins with `head`: parquet, fits, ascii.ecsv, votable or text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    if head.startswith(b"# %ECSV"):
        return "ascii.ecsv"
    return "votable" if head.lstrip().startswith(b"<") and b"<VOTABLE" in head else "text"


def _names_columns(head: bytes, any_column: bool) -> bool:
    """Return whether a file is a table; notes in a folder of images are none.

    Args:
        any_column: whether any columns will do; else one must be `path`.
    """
    kind = table_format(head)
    if kind != "text":
        return kind != "fits"
    if any(byte < 9 for byte in head[:200]):  # no text
        return False
    lines = head.decode("utf-8-sig", errors="replace").splitlines()[:50]
    comments = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))
    headers = [line.lstrip("# ") for line in lines[: comments + 1]]
    if any_column and any("path" in line.split() or any(x in line for x in SEPARATORS) for line in headers):
        return True
    return any(_PATH.search(line) for line in headers)


def _holds_a_table(path: Path) -> bool:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as units:
                kinds = [type(unit).__name__ for unit in units if unit.header.get("NAXIS")]
    except Exception:  # astropy raises anything on a damaged file
        return False
    return bool(kinds) and kinds[0] in ("BinTableHDU", "TableHDU")
