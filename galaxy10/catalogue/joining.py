"""Join the parts or the shards of a catalogue into one file, and count what its record says."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from galaxy10.catalogue.table_io import write_tables
from galaxy10.data.sidecars import Failure, failed_path, read_failures, record_path, write_failures
from galaxy10.files import atomic_write, remove_leftovers_of, write_json
from galaxy10.progress import progress


def failures_of(tables: Iterable[Path]) -> Iterator[Failure]:
    """Yield the lines of several tables of failures, one after the other; a table may be missing."""
    return chain.from_iterable(map(read_failures, tables))


class _Counts:
    """The numbers of a record, counted while the rows pass by."""

    def __init__(self, shown: Callable[[int], None]):
        self._rows, self._shown = 0, shown
        self.quality = Counter[str]()
        self.trained_on: int | None = None

    def see(self, table: pa.Table) -> None:
        """Count the rows of a table: those of each quality, and those that are known to the networks."""
        if "quality" in table.column_names:
            found = pc.value_counts(table["quality"]).to_pylist()
            self.quality.update({pair["values"]: pair["counts"] for pair in found})
        if "trained_on" in table.column_names:
            self.trained_on = (self.trained_on or 0) + (pc.sum(table["trained_on"]).as_py() or 0)
        self._rows += len(table)
        self._shown(self._rows)


def join_parts(
    output: Path,
    plan: dict[str, Any],
    parts: Sequence[Path],
    failures: Iterable[Failure],
    more: dict[str, Any],
    leftover: Path | None = None,
) -> dict[str, Any]:
    """Join Parquet files into a catalogue, write its failures and record, remove `leftover`, and return the record.

    Memory does not grow with the number of rows or of failures, unless the catalogue is a FITS table. Only one process
    at a time may do this: temporary files that a killed one has left are removed.
    """
    failed = failed_path(output)
    for path in (output, failed):
        remove_leftovers_of(path)  # they may be large
    failures = iter(failures)
    first, number_failed = next(failures, None), 0
    if first is not None:
        with atomic_write(failed) as part:
            number_failed = write_failures(part, chain([first], failures))
    else:
        failed.unlink(missing_ok=True)
    with atomic_write(output) as part, progress("joining", None, unit="rows") as show:
        seen = _Counts(show)
        catalogued = write_tables(part, output.suffix.lower(), parts, seen.see)
    counts: dict[str, Any] = {
        "catalogued": catalogued,
        "failed": number_failed,
        "quality": dict(sorted(seen.quality.items())),
    }
    if seen.trained_on is not None:
        counts["trained_on"] = seen.trained_on
    record = {"output": output.name, "plan": plan, **counts, **more}
    write_json(record_path(output), record)
    if leftover is not None:
        # plan.json last, after batch_size.json: while they exist, the same command completes it after a kill.
        for path in sorted(leftover.iterdir(), key=lambda path: (path.suffix == ".json", path.name)):
            path.unlink()
        leftover.rmdir()
    return record
