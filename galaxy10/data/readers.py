"""Readers: functions that read labelled images of any form, and their conversion to an HDF5 file.

A reader is `read(path, **settings)` → (images, labels, class names[, table]); see reader_output.check_output for the
types. An HDF5 file of the published layout needs no reader. Folders and tables have built-in readers.
"""

import functools
import hashlib
import inspect
import json
import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock

from galaxy10.config.building import TARGET, check_signature, parameters_of, resolve
from galaxy10.data.folders import read_folders, read_table
from galaxy10.data.reader_output import ReaderOutput, blocks_of, check_output, write_output
from galaxy10.data.sidecars import Failure, failed_path, write_failures
from galaxy10.data.store import file_identity
from galaxy10.data.table_kinds import is_table
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.files import atomic_write, read_json, write_error, write_json

logger = logging.getLogger(__name__)

FORMAT = 3  # part of the key: files of an older format are written again


@dataclass(frozen=True)
class Reader:
    """A function read(path, **settings), and its name for messages, such as mypkg.read.

    A function that reads more than `path` may have an attribute `fingerprint`, a function of the same arguments, whose
    value (bytes) changes with everything that is read.
    """

    function: Callable[..., Any]
    settings: Mapping[str, Any]
    name: str

    @classmethod
    def from_config(cls, given: Callable[..., Any] | Mapping[str, Any]) -> "Reader":
        """Return the Reader of a function, or of a mapping of `_target_` and further arguments.

        Raises:
            Galaxy10Error: the function cannot be imported, or does not take its arguments.
        """
        if callable(given):
            function, settings = given, {}
            if isinstance(given, functools.partial) and not given.args:
                function, settings = given.func, given.keywords
            owner = function if hasattr(function, "__qualname__") else type(function)
            return cls(function, settings, f"{owner.__module__}.{owner.__qualname__}")
        if not isinstance(given, Mapping) or not isinstance(given.get(TARGET), str):
            raise Galaxy10Error(f"data.reader={given} names no function; add ++data.reader._target_=mypkg.read")
        name, settings = given[TARGET], {key: value for key, value in given.items() if key[:1] != "_"}
        function = resolve(name, f"data.reader.{TARGET}")
        path = list(parameters_of(function) or ())[:1]  # the first argument, whatever its name
        check_signature("data.reader", given, frozenset(path))
        return cls(function, settings, name)

    def read(self, path: Path) -> ReaderOutput:
        """Call the function, and check its output.

        Raises:
            Galaxy10Error: the function fails, or its output has another form.
        """
        try:
            returned = self.function(path, **self.settings)
        except Galaxy10Error:
            raise
        except Exception as error:
            raise self._failure(path, error) from error
        return check_output(returned, self.name)

    def write(self, path: Path, part: Path) -> tuple[np.ndarray, list[Failure]]:
        """Write an HDF5 file of the images; return the rows (n,) in the file, and the failures.

        Raises:
            Galaxy10Error: the reader fails, its output has another form, or has fewer than two classes.
        """
        output = self.read(path)
        kept, failures = write_output(part, output, self._with_clear_errors(blocks_of(output.images), path))
        present = len(np.unique(output.labels[kept]))
        if present < 2:
            raise Galaxy10Error(
                f"{path}, read by {self.name}: of {len(output.labels)} images {len(kept)} can be used, of {present} "
                f"class{'' if present == 1 else 'es'}; a classifier needs at least two classes"
                + (f" (the first that cannot: {failures[0][0]}: {failures[0][2]})" if failures else "")
            )
        return kept, failures

    def _with_clear_errors(self, blocks: Iterator[Any], path: Path) -> Iterator[Any]:
        try:
            yield from blocks
        except Galaxy10Error:
            raise
        except Exception as error:
            raise self._failure(path, error) from error

    def _failure(self, path: Path, error: Exception) -> Galaxy10Error:
        frames = traceback.extract_tb(error.__traceback__)
        code = getattr(self.function, "__code__", None)
        own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
        return Galaxy10Error(
            f"{self.name} fails on {path}: {type(error).__name__}: {first_line(error)} "
            f"({(own or frames)[-1].filename}, line {(own or frames)[-1].lineno})"
        )

    def key(self, path: Path) -> str:
        """Return a hash of the input, of the source file of the function, and of its arguments.

        Raises:
            Galaxy10Error: the input is not accessible.
        """
        fingerprint = getattr(self.function, "fingerprint", None)
        try:
            more = fingerprint(path, **self.settings) if fingerprint else b""
            about = [FORMAT, self.name, self.settings, _input_identity(path), _code_identity(self.function), more]
        except OSError as error:
            raise Galaxy10Error(f"{path} cannot be read ({first_line(error)}); change its permissions") from error
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=repr).encode()).hexdigest()


def _input_identity(path: Path) -> list[Any]:
    """Return values that change if an input changes, without reading all of it; hidden files do not count."""
    if path.is_file():
        return [file_identity(path)]
    found: list[Any] = []
    seen = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        where = os.stat(folder)
        if (where.st_dev, where.st_ino) in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = os.path.join(folder, name)
            if not name.startswith(".") and os.path.exists(file):
                about = os.stat(file)
                found.append([os.path.relpath(file, path), about.st_size, about.st_mtime_ns])
    return found


def _code_identity(function: Callable[..., Any]) -> str:
    """Return a hash of the source file of a reader; changes of built-in readers change FORMAT instead."""
    if str(getattr(function, "__module__", "")).startswith("galaxy10."):
        return ""
    try:
        return hashlib.sha256(Path(inspect.getsourcefile(function) or "").read_bytes()).hexdigest()
    except (TypeError, OSError):  # a built-in, or defined in a notebook
        try:
            return inspect.getsource(function)
        except (TypeError, OSError):
            return ""


def reader_of(
    path: Path,
    given: Callable[..., Any] | Mapping[str, Any] | None,
    vote_columns: Sequence[str] | None = None,
) -> Reader | None:
    """Return the reader of an input: the given one, or the built-in one of a folder or table; None for an HDF5 file.

    Args:
        vote_columns: columns of votes in a table, for its built-in reader.

    Raises:
        Galaxy10Error: the input does not exist, the reader cannot be imported or called, or vote_columns are given for
            another input than a table.
    """
    if vote_columns is not None and path.exists() and (given is not None or path.is_dir() or not is_table(path)):
        raise Galaxy10Error(
            f"data.vote_columns names columns of a table of paths, and data.path={path} is none or has its own reader; "
            "leave it out (an HDF5 file has a data set `votes` (N, C), a reader returns labels (N, C))"
        )
    if given is None and not path.is_dir() and not is_table(path):
        return None
    if not path.exists():
        expected = "an HDF5 file, a folder with one folder per class, or a table of paths and labels"
        raise Galaxy10Error(
            f"data.path={path} does not exist; give {expected if given is None else 'the input of the reader'}"
        )
    if given is not None:
        return Reader.from_config(given)
    if path.is_dir():
        return Reader.from_config(read_folders)
    if vote_columns is None:
        return Reader.from_config(read_table)
    return Reader.from_config(functools.partial(read_table, vote_columns=list(map(str, vote_columns))))


def converted_path(reader: Reader, path: Path, directory: Path) -> Path:
    """Return the path of the HDF5 file that a reader's images are converted to.

    Raises:
        Galaxy10Error: the path is inside the folder that is read, which would change the input.
    """
    path = path.resolve()
    if path.is_dir() and directory.resolve().is_relative_to(path):
        raise Galaxy10Error(
            f"the images of data.path={path} would be converted into that folder ({directory}); set data.store_dir to "
            "another one"
        )
    about = json.dumps([str(path), reader.name, reader.settings], sort_keys=True, default=repr)
    return directory / f"{path.stem}-{hashlib.sha256(about.encode()).hexdigest()[:8]}.h5"


def is_converted(target: Path, key: str) -> bool:
    """Return whether a converted file belongs to a key (see Reader.key)."""
    return target.exists() and read_json(_key_path(target)).get("key") == key


def _key_path(target: Path) -> Path:
    return target.with_suffix(".json")


def convert(reader: Reader, path: Path, directory: Path) -> Path:
    """Return the HDF5 file of a reader's images, written now if it does not exist or the input has changed.

    Of several processes at once, one reads and the others wait. A killed process leaves the old file. If the same
    images are read again, the file and its store stay unchanged.

    Raises:
        Galaxy10Error: the reader fails, its output has another form, or the file cannot be written.
    """
    target, key = converted_path(reader, path, directory), reader.key(path)
    if is_converted(target, key):
        return target
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not is_converted(target, key):
                _write(reader, path, target)
                write_json(_key_path(target), {"key": key, "path": str(path.resolve()), "reader": reader.name})
    except OSError as error:
        raise write_error(target, error) from error
    return target


def _write(reader: Reader, path: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _, failures = reader.write(path, part)
        if not (target.exists() and _have_equal_contents(part, target)):
            _key_path(target).unlink(missing_ok=True)
            with atomic_write(target) as finished:
                os.rename(part, finished)
    finally:
        part.unlink(missing_ok=True)
    list_failures(failed_path(target), failures)
    if failures:
        logger.info(f"note: {len(failures):,} images could not be read and are left out: {failed_path(target)}")


def _have_equal_contents(one: Path, other: Path) -> bool:
    """Return whether two converted files have equal contents, compared a block of images at a time."""
    try:
        with h5py.File(one, "r") as first, h5py.File(other, "r") as second:
            if set(first) != set(second) or first["images"].shape != second["images"].shape:
                return False
            if list(first["ans"].attrs.get("class_names", ())) != list(second["ans"].attrs.get("class_names", ())):
                return False
            blocks = zip(blocks_of(first["images"]), blocks_of(second["images"]), strict=True)
            columns = (
                np.array_equal(first[name][:], second[name][:], equal_nan=first[name].dtype.kind == "f")
                for name in first
                if name != "images"
            )
            return all(columns) and all(np.array_equal(block, before) for block, before in blocks)
    except (OSError, KeyError):  # damaged, or of another program
        return False


def list_failures(path: Path, failures: list[Failure]) -> None:
    """Write the table of images that could not be read; delete an older table if there are none."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as part:
        write_failures(part, failures)
