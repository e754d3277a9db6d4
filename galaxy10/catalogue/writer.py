"""A catalogue on disk: written in numbered parts beside its name, so that a kill at any moment loses little.

NAME.parquet            the catalogue (or .csv, .fits), once it is complete
NAME.failed.csv         path, row and reason of what could not be read
NAME.json               which runs and options made it, and how many pictures there were
NAME.parquet.parts/     while it is being made: plan.json and the parts
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from galaxy10.catalogue.table_io import check_columns, write_tables
from galaxy10.data.sidecars import (
    CATALOGUE_SUFFIXES,
    Failure,
    check_beside_catalogue,
    failed_path,
    parts_path,
    read_failures,
    record_path,
    write_failures,
)
from galaxy10.errors import Galaxy10Error
from galaxy10.files import disk_error, read_json, replacing, write_json


class IncompleteCatalogue(Galaxy10Error):
    """What the user can mend, but after work had begun: exit code 1. What is done is kept."""


class Catalogue:
    """One catalogue, from its first part to the finished file.

    Args:
        output: the file to end up with; its suffix decides the format.
        plan: everything that decides what will be in it, as plain values. Parts of another plan are never mixed in.
    """

    def __init__(self, output: Path, plan: dict[str, Any]):
        self.output, self.plan = output, plan
        self.parts = parts_path(output)
        self.failed_path = failed_path(output)
        self.about_path = record_path(output)

    def finished(self) -> dict[str, Any] | None:
        """The record of an earlier command that has made this very catalogue; None if there is none."""
        about = read_json(self.about_path)
        done = self.output.exists() and not self.parts.exists() and about.get("plan") == self.plan
        return about if done else None

    def check_name(self, overwrite: bool) -> None:
        """That nothing else has this name, or the names beside it; nothing is touched.

        overwrite: whether another catalogue of this name may go.

        Raises:
            Galaxy10Error: another catalogue, finished or not; files beside it that belong to another output.
        """
        check_beside_catalogue(self.output)
        before = read_json(self.parts / "plan.json")
        if overwrite:
            return
        if before and before != self.plan:
            raise Galaxy10Error(
                f"{self.parts} is an unfinished catalogue of another command ({self._differing(before)}); give that "
                "command again, another -o, or --overwrite"
            )
        if self.output.exists() and not before:
            made = read_json(self.about_path).get("plan")
            how = f" ({self._differing(made)})" if made and made != self.plan else ""
            raise Galaxy10Error(f"{self.output} is there already{how}; give another -o, or --overwrite")

    def _differing(self, plan: dict[str, Any]) -> str:
        return f"different: {', '.join(sorted(k for k in {*plan, *self.plan} if plan.get(k) != self.plan.get(k)))}"

    @contextmanager
    def writing(self, overwrite: bool) -> Iterator[dict[str, Any] | None]:
        """Be the one process that works on it: gives None, or the record if another has finished it meanwhile.

        overwrite: whether another catalogue of this name goes.

        Raises:
            Galaxy10Error: another process works on it, the name is taken, or the folder cannot be written.
            IncompleteCatalogue: a later error that the user can mend.
        """
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.output.with_name(f".{self.output.name}.lock"), timeout=0)
            lock.acquire()
        except Timeout:
            raise Galaxy10Error(f"another process is writing {self.output}; wait for it, or give another -o") from None
        except OSError as error:
            raise disk_error(self.output, error) from error
        try:
            # Under the lock: what was seen before it was taken need not be so any more.
            about = None if overwrite else self.finished()
            if about is None:
                self.check_name(overwrite)
            try:
                if about is None:
                    self._begin()
                yield about
            except OSError as error:
                raise IncompleteCatalogue(str(disk_error(self.output, error))) from error
            except Galaxy10Error as error:
                raise IncompleteCatalogue(str(error)) from error
            Path(lock.lock_file).unlink(missing_ok=True)
        finally:
            lock.release()

    def _begin(self) -> None:
        if self.parts.exists() and read_json(self.parts / "plan.json") != self.plan:
            shutil.rmtree(self.parts)
        self.parts.mkdir(exist_ok=True)
        write_json(self.parts / "plan.json", self.plan)

    def has(self, number: int) -> bool:
        """Whether a part is complete."""
        return self._part(number).exists()

    def add(self, number: int, table: pa.Table, failures: Sequence[Failure]) -> None:
        """Keep one part, whole or not at all."""
        with replacing(self._part(number).with_suffix(".failed.csv")) as part:
            write_failures(part, failures)
        with replacing(self._part(number)) as part:
            pq.write_table(table, part)

    def finish(self, number_of_parts: int, more: dict[str, Any]) -> dict[str, Any]:
        """Join the parts, and remove them; the record, with `catalogued` and `failed` (numbers of pictures).

        more: what else the record says.
        """
        parts = [self._part(number) for number in range(number_of_parts)]
        failures = [failure for part in parts for failure in read_failures(part.with_suffix(".failed.csv"))]
        return finish(self.output, self.plan, parts, failures, more, self.parts)

    def _part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.parquet"


def finish(
    output: Path,
    plan: dict[str, Any],
    parts: Sequence[Path],
    failures: Sequence[Failure],
    more: dict[str, Any],
    leftover: Path | None = None,
) -> dict[str, Any]:
    """Join Parquet files into a catalogue with its table of failures and its record; then remove `leftover`."""
    failed = failed_path(output)
    if failures:
        with replacing(failed) as part:
            write_failures(part, failures)
    else:
        failed.unlink(missing_ok=True)
    with replacing(output) as part:
        catalogued = write_tables(part, output.suffix.lower(), parts)
    about = {"output": output.name, "plan": plan, "catalogued": catalogued, "failed": len(failures), **more}
    write_json(record_path(output), about)
    if leftover is not None:
        # plan.json last: as long as it is there, the same command ends what was begun.
        for path in sorted(leftover.iterdir(), key=lambda path: path.name == "plan.json"):
            path.unlink()
        leftover.rmdir()
    return about


def shard_path(output: Path, index: int, number: int) -> Path:
    """Where shard i of n of a catalogue goes: Parquet, whatever the whole will be."""
    return output.with_name(f"{output.stem}.{index}-of-{number}.parquet")


def check_output(output: Path) -> None:
    """Refuse an output that cannot become a catalogue."""
    if output.is_dir():
        raise Galaxy10Error(f"-o {output} is a folder; give the file to write, such as {output}/catalogue.parquet")
    if output.suffix.lower() not in CATALOGUE_SUFFIXES:
        raise Galaxy10Error(f"-o {output} has no format that is known; end it in {', '.join(CATALOGUE_SUFFIXES)}")


def merge(output: Path, overwrite: bool) -> dict[str, Any]:
    """Join all shards of a catalogue, which lie beside it, into the catalogue; the shards stay.

    Raises:
        Galaxy10Error: a shard is missing, unfinished or of another command.
    """
    check_output(output)
    shard_name = re.compile(rf"{re.escape(output.stem)}\.\d+-of-(\d+)\.parquet")
    found = [shard_name.fullmatch(path.name) for path in output.parent.glob(f"{escape(output.stem)}.*-of-*.parquet")]
    numbers = {match[1] for match in found if match}
    if not numbers:
        raise Galaxy10Error(
            f"there is no {shard_path(output, 0, 4).name} or the like beside {output}; make shards with "
            f"galaxy10 predict … -o {output} --shard 0/4 and so on"
        )
    if len(numbers) > 1:
        raise Galaxy10Error(f"beside {output} lie shards of several numbers ({', '.join(sorted(numbers))}); keep one")
    number = int(numbers.pop())
    shards = [shard_path(output, index, number) for index in range(number)]
    missing = [str(i) for i, shard in enumerate(shards) if not shard.exists() or parts_path(shard).exists()]
    if missing:
        raise Galaxy10Error(f"of {number} shards of {output} these are not finished: {', '.join(missing)}; make them")
    records = [read_json(record_path(shard)) for shard in shards]
    plans = [{k: v for k, v in (r.get("plan") or {}).items() if k != "shard"} for r in records]
    if any(plan != plans[0] for plan in plans):
        different = [shards[i].name for i, plan in enumerate(plans) if plan != plans[0]]
        raise Galaxy10Error(f"{', '.join(different)} come from another command than {shards[0].name}; make them again")
    plan = {**plans[0], "shard": None}
    catalogue = Catalogue(output, plan)
    about = None if overwrite else catalogue.finished()
    if about is not None:
        return about
    catalogue.check_name(overwrite)
    check_columns(output.suffix.lower(), pq.read_schema(shards[0]).names)  # it may have been .parquet to them
    failures = [failure for shard in shards for failure in read_failures(failed_path(shard))]
    rest = {k: v for k, v in records[0].items() if k not in ("output", "plan", "catalogued", "failed", "images_per_s")}
    return finish(output, plan, shards, failures, rest)
