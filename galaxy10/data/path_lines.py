"""Open a table of image paths: a small one is read as a whole, a large one block by block."""

import logging
from pathlib import Path

from galaxy10.data.lines import LazyTable, Lines
from galaxy10.data.parquet_blocks import ParquetBlocks, parquet_columns, parquet_rows
from galaxy10.data.path_tables import catalogue_column_names, check_column, read_path_table, readable_table
from galaxy10.data.table_kinds import beginning, table_format
from galaxy10.data.text_blocks import NoBlocks, TextBlocks

logger = logging.getLogger(__name__)

_LARGE_BYTES = 64 * 2**20  # of a text
_LARGE_ROWS = 1_000_000  # of a Parquet file


def open_path_table(file: Path, column: str | None) -> tuple[Lines, dict[str, str]]:
    """Return a table of images, with `path`, `row` (from 0) and the other columns, and the new name of each column.

    Texts and Parquet files of any length take little memory; FITS, ECSV and VOTable are read as a whole, and so is a
    text with line breaks inside of cells.

    Args:
        column: the column of paths; None: `path`.

    Raises:
        Galaxy10Error: the file cannot be read, or lacks the column.
    """
    paths = column or "path"
    with readable_table(file):
        kind = table_format(beginning(file))
        if kind == "parquet" and parquet_rows(file) > _LARGE_ROWS:
            there = parquet_columns(file)
            check_column(file, paths, there, "--path-column")
            names = catalogue_column_names(name for name in there if name != paths)
            return LazyTable(ParquetBlocks(file, paths, names)), names
        if kind == "text" and file.stat().st_size > _LARGE_BYTES:
            try:
                blocks = TextBlocks(file, paths)
            except NoBlocks as error:
                logger.info(f"note: {file} is in memory as a whole ({error}); a Parquet file would not be")
                return read_path_table(file, column)
            return LazyTable(blocks), catalogue_column_names(n for n in blocks.source_names if n != paths)
    return read_path_table(file, column)
