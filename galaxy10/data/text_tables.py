"""Read tables of text: any separator, UTF-8 or latin-1, decimal commas, packed with gzip."""

import codecs
import gzip
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from galaxy10.data.table_kinds import GZIP, SEPARATORS
from galaxy10.errors import Galaxy10Error

_DECIMAL_COMMA = r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d*)?(?:[eE][+-]?\d+)?"  # 1.234,5 is a thousand


def read_text_table(file: Path, paths: str, label: str | None) -> pd.DataFrame:
    """Read a table of text, separated by commas, semicolons, tabs or bars, as in its first line, else by blanks.

    Integers stay integers beside an empty cell, identifiers such as 00123 stay texts, and so do words such as NA, which
    may be classes; they are missing values only among numbers, paths and groups. Where commas do not separate, a column
    of numbers may have decimal commas.

    Args:
        paths: the column of paths.
        label: the column of labels, if there is one.
    """
    options: dict[str, Any] = {"skipinitialspace": True, "encoding": text_encoding(file)}
    options["compression"] = "gzip" if is_packed(file) else None
    options |= header_options(file, paths, options["encoding"])
    frame: pd.DataFrame = pd.read_csv(file, dtype_backend="numpy_nullable", **options)
    doubtful = [n for n, (_, column) in enumerate(frame.items()) if is_number(column) or column.isna().any()]
    if doubtful:
        texts = pd.read_csv(file, dtype="string", keep_default_na=False, na_values=[""], usecols=doubtful, **options)
        for name in texts:
            _keep_words(frame, name, texts[name], paths, label)
    if options["sep"] != ",":
        for name in frame.columns.difference([paths, label, "group"]):
            frame[name] = _without_decimal_commas(frame[name])
    return frame


def header_options(file: Path, paths: str, encoding: str) -> dict[str, Any]:
    """Return pandas' options sep, skiprows and names: the header is the first line that is no comment, or the last
    comment if that line has no column of paths.
    """
    comments: list[str] = []
    first = ""
    with opened_text(file) as opened:
        for line in opened:
            first = line.decode(encoding, errors="replace").lstrip("\ufeff").rstrip("\r\n")
            if "\0" in first:
                raise Galaxy10Error(f"{file} is no table; give a CSV, Parquet or FITS file")
            if not first.startswith("#"):
                break
            comments.append(first)
    separator = _separator(first)
    if not comments or paths in _cells(first, separator):
        return {"sep": separator, "skiprows": len(comments)}
    header = comments[-1].lstrip("#").strip()
    separator = _separator(header)
    return {"sep": separator, "skiprows": len(comments), "names": _cells(header, separator)}


def _separator(line: str) -> str:
    separator = max(SEPARATORS, key=line.count)
    return separator if separator in line else r"\s+" if len(line.split()) > 1 else ","


def _cells(line: str, separator: str) -> list[str]:
    return line.split() if separator == r"\s+" else [cell.strip().strip('"') for cell in line.split(separator)]


def _keep_words(frame: pd.DataFrame, name: Any, texts: pd.Series, paths: str, label: str | None) -> None:
    """Replace a column by its texts if numbers or missing values would lose what they say."""
    numeric = is_number(frame[name])
    words = (frame[name].isna() & texts.notna()).any()
    if numeric and has_leading_zeros(texts):
        frame[name] = texts.str.rstrip()
    elif words and (name == label or (not numeric and name not in (paths, "group"))):
        frame[name] = texts


def _without_decimal_commas(column: pd.Series) -> pd.Series:
    """Return a column of texts such as 1,5 as numbers; any other column unchanged."""
    if not pd.api.types.is_string_dtype(column):
        return column
    return decimal_numbers(column) if decimal_commas(column) == (True, True) else column


def has_leading_zeros(texts: pd.Series) -> bool:
    """Return whether any of some texts is a number such as 00123, which is an identifier."""
    return bool(texts.str.fullmatch(r"[+-]?0\d+\s*").any())


def decimal_commas(texts: pd.Series) -> tuple[bool, bool]:
    """Return whether all texts that are given can be numbers with decimal commas, and whether any has a comma."""
    known = _given(texts)
    return bool(known.str.fullmatch(_DECIMAL_COMMA).all()), bool(known.str.contains(",").any())


def decimal_numbers(texts: pd.Series) -> pd.Series:
    """Return texts such as 1.234,5 as numbers."""
    known = _given(texts).str.replace(".", "", regex=False).str.replace(",", ".", regex=False).astype("Float64")
    return known.reindex(texts.index)


def _given(column: pd.Series) -> pd.Series:
    """Return the texts of a column that are no missing values, without blanks around them."""
    texts = column.str.strip()
    return texts[texts.notna() & ~texts.str.lower().isin(["", "na", "nan", "null", "none", "n/a"])]


def is_number(column: pd.Series) -> bool:
    """Return whether a column holds numbers or booleans."""
    return bool(pd.api.types.is_numeric_dtype(column))


def is_packed(file: Path) -> bool:
    """Return whether a file is packed with gzip."""
    with file.open("rb") as opened:
        return opened.read(2) == GZIP


@contextmanager
def opened_text(file: Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, unpacked."""
    with file.open("rb") as opened, gzip.open(opened) if is_packed(file) else nullcontext(opened) as unpacked:
        yield unpacked  # type: ignore[misc]  # gzip's files read like all others


def text_encoding(file: Path) -> str:
    """Return Python's name of a text's encoding: UTF-8, with or without a byte order mark, or latin-1."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with opened_text(file) as opened:
            while block := opened.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"  # Excel begins files with a byte order mark
