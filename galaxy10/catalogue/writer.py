"""A catalogue on disk, written in numbered parts so that a kill loses one part at most.

NAME.parquet            the complete catalogue (or .csv, .fits)
NAME.failed.csv         path, row and reason of each image that could not be read
NAME.json               the record: runs, options and numbers of images
NAME.parquet.parts/     plan.json, batch_size.json and the parts, until the catalogue is complete
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from galaxy10.catalogue.joining import failures_of, join_parts
from galaxy10.catalogue.table_io import check_columns
from galaxy10.data.file_sizes import add_digests
from galaxy10.data.labels import shortened
from galaxy10.data.sidecars import (
    CATALOGUE_SUFFIXES,
    Failure,
    check_catalogue_sidecars,
    failed_path,
    parts_path,
    record_path,
    write_failures,
)
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write, read_json, write_error, write_json

OF_A_SHARD = ("shard", "file_sizes")  # entries of a plan that differ between the shards of one command


class IncompleteCatalogue(Galaxy10Error):
    """An error after the first image, such as a full disk: exit code 1. Finished parts are kept."""


class Catalogue:
    """A catalogue, from the first part to the finished file.

    Args:
        output: the catalogue's file; the suffix determines the format.
        plan: everything that determines the content, as plain values. Parts of different plans are never mixed.
    """

    def __init__(self, output: Path, plan: dict[str, Any]):
        self.output, self.plan = output, plan
        self.parts = parts_path(output)
        self.failed_path = failed_path(output)
        self.record_path = record_path(output)

    def finished(self) -> dict[str, Any] | None:
        """Return the record if the same catalogue is complete already, else None."""
        record = read_json(self.record_path)
        done = self.output.exists() and not self.parts.exists() and record.get("plan") == self.plan
        return record if done else None

    def check_name(self, overwrite: bool) -> None:
        """Check that neither the catalogue's name nor those of its sidecar files are taken.

        overwrite: whether another catalogue of this name may be replaced.

        Raises:
            Galaxy10Error: another catalogue has the name, complete or not; a sidecar file belongs to another output.
        """
        check_catalogue_sidecars(self.output)
        before = read_json(self.parts / "plan.json")
        if overwrite:
            return
        if before and before != self.plan:
            raise Galaxy10Error(
                f"{self.parts} is an unfinished catalogue of another command ({self._differing(before)}); run that "
                "command again, or give another -o or --overwrite"
            )
        if self.output.exists() and not before:
            made = read_json(self.record_path).get("plan")
            how = f" ({self._differing(made)})" if made and made != self.plan else ""
            raise Galaxy10Error(f"{self.output} exists already{how}; give another -o, or --overwrite")

    def _differing(self, plan: dict[str, Any]) -> str:
        names = sorted(k for k in {*plan, *self.plan} if plan.get(k) != self.plan.get(k))
        return f"different: {', '.join(names)}" if names else ""

    @contextmanager
    def writing(self, overwrite: bool) -> Iterator[dict[str, Any] | None]:
        """Lock the catalogue while parts are added; yield its record if another process has completed it, else None.

        overwrite: whether another catalogue of this name is replaced.

        Raises:
            Galaxy10Error: another process writes the catalogue, the name is taken, or the folder cannot be written.
            IncompleteCatalogue: a later error.
        """
        with self.locked():
            # Another process may have completed the catalogue before the lock was acquired.
            record = None if overwrite else self.finished()
            if record is None:
                self.check_name(overwrite)
            try:
                if record is None:
                    self._begin()
                yield record
            except OSError as error:
                raise IncompleteCatalogue(str(write_error(self.output, error))) from error
            except Galaxy10Error as error:
                raise IncompleteCatalogue(str(error)) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the catalogue.

        Raises:
            Galaxy10Error: another process writes it, or the folder cannot be written.
        """
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.output.with_name(f".{self.output.name}.lock"), timeout=0)
            lock.acquire()
        except Timeout:
            raise Galaxy10Error(f"another process is writing {self.output}; wait for it, or give another -o") from None
        except OSError as error:
            raise write_error(self.output, error) from error
        try:
            yield
            Path(lock.lock_file).unlink(missing_ok=True)
        finally:
            lock.release()

    def _begin(self) -> None:
        if self.parts.exists() and read_json(self.parts / "plan.json") != self.plan:
            shutil.rmtree(self.parts)
        self.parts.mkdir(exist_ok=True)
        write_json(self.parts / "plan.json", self.plan)

    def batch_size(self, choose: Callable[[], int]) -> int:
        """Return the batch size that the parts are computed with: the one chosen before an interruption, or a new one.

        Another one would change the last digits of the results, and where the parts begin.
        """
        kept = self.parts / "batch_size.json"
        found = read_json(kept).get("batch_size")
        if found is None:
            found = choose()
            write_json(kept, {"batch_size": found})
        return int(found)

    def has(self, number: int) -> bool:
        """Return whether a part is complete."""
        return self._part(number).exists()

    def add(self, number: int, table: pa.Table, failures: Sequence[Failure]) -> None:
        """Write one part atomically; a table of failures beside it only if there are any."""
        failed = self._part(number).with_suffix(".failed.csv")
        if failures:
            with atomic_write(failed) as part:
                write_failures(part, failures)
        else:
            failed.unlink(missing_ok=True)  # of an earlier command that was killed before the part had its name
        with atomic_write(self._part(number)) as part:
            pq.write_table(table, part)

    def finish(self, number_of_parts: int, more: dict[str, Any]) -> dict[str, Any]:
        """Join and remove the parts, and return the record with `catalogued` and `failed` (numbers of images).

        more: further entries of the record.
        """
        parts = [self._part(number) for number in range(number_of_parts)]
        failures = failures_of(part.with_suffix(".failed.csv") for part in parts)
        return join_parts(self.output, self.plan, parts, failures, more, self.parts)

    def _part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.parquet"


def shard_path(output: Path, index: int, number: int) -> Path:
    """Return the path of shard i of n of a catalogue: Parquet, whatever the format of the catalogue."""
    return output.with_name(f"{output.stem}.{index}-of-{number}.parquet")


def check_catalogue_path(output: Path) -> None:
    """Check that an output is a file of a known format.

    Raises:
        Galaxy10Error: the output is a folder, or has an unknown suffix.
    """
    if output.is_dir():
        raise Galaxy10Error(f"-o {output} is a folder; give the file to write, such as {output}/catalogue.parquet")
    if output.suffix.lower() not in CATALOGUE_SUFFIXES:
        raise Galaxy10Error(f"-o {output} has no known format; end it in {', '.join(CATALOGUE_SUFFIXES)}")


def merge_shards(
    output: Path, overwrite: bool, join_others: Callable[[Sequence[Path]], None] | None = None
) -> dict[str, Any]:
    """Join the shards beside a catalogue into the catalogue, and return its record; the shards are kept.

    Args:
        join_others: joins the other files of the checked shards, before the catalogue is written.

    Raises:
        Galaxy10Error: a shard is missing, unfinished or of another command.
    """
    check_catalogue_path(output)
    shard_name = re.compile(rf"{re.escape(output.stem)}\.\d+-of-(\d+)\.parquet")
    found = [shard_name.fullmatch(path.name) for path in output.parent.glob(f"{escape(output.stem)}.*-of-*.parquet")]
    numbers = {match[1] for match in found if match}
    if not numbers:
        raise Galaxy10Error(
            f"{output} has no shards beside it, such as {shard_path(output, 0, 4).name}; write them with "
            f"galaxy10 predict … -o {output} --shard 0/4 and so on"
        )
    if len(numbers) > 1:
        raise Galaxy10Error(
            f"{output} has shards of several partitions beside it (of {', '.join(sorted(numbers))} shards); "
            "remove all but one"
        )
    number = int(numbers.pop())
    shards = [shard_path(output, index, number) for index in range(number)]
    missing = [str(i) for i, shard in enumerate(shards) if not shard.exists() or parts_path(shard).exists()]
    if missing:
        raise Galaxy10Error(
            f"shards {shortened(missing)} of {number} of {output} are not finished; run their --shard commands again"
        )
    records = [{"plan": {}, **read_json(record_path(shard))} for shard in shards]
    plans = [{k: v for k, v in r["plan"].items() if k not in OF_A_SHARD} for r in records]
    if any(plan != plans[0] for plan in plans):
        different = [shards[i].name for i, plan in enumerate(plans) if plan != plans[0]]
        raise Galaxy10Error(
            f"{shortened(different)} come from another command than {shards[0].name}; write them again with --overwrite"
        )
    plan = {**plans[0], "shard": None}
    sizes = [size for record in records if isinstance(size := record["plan"].get("file_sizes"), str)]
    if len(sizes) == len(records):
        plan["file_sizes"] = add_digests(sizes)
    catalogue = Catalogue(output, plan)
    with catalogue.locked():
        record = None if overwrite else catalogue.finished()
        if record is not None:
            return record
        catalogue.check_name(overwrite)
        # -o of the shards may have been .parquet
        check_columns(output.suffix.lower(), pq.read_schema(shards[0]).names)
        if join_others is not None:
            join_others(shards)
        rest = {
            k: v
            for k, v in records[0].items()
            if k not in ("output", "plan", "catalogued", "failed", "trained_on", "quality", "images_per_s")
        }
        return join_parts(output, plan, shards, failures_of(map(failed_path, shards)), rest)
