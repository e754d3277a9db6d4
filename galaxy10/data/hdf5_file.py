"""Open HDF5 files and their data sets, and say why one cannot be read: in use, without its other files, damaged."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import h5py

from galaxy10.data.hdf5_limits import check_heaps
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error, first_line, system_errno, system_reason

# The others than OSError: h5py's, about damaged structures.
READ_ERRORS = (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)
_DAMAGED = ("filter returned failure", "inflate", "checksum", "bad object header", "wrong", "corrupt", "addr overflow")
_FILTERS = {
    307: "bzip2", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard",
    32017: "SZ", 32024: "SZ3", 32026: "Blosc2",
}  # fmt: skip


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, without locks where the file system has none; close it on exit.

    Raises:
        Galaxy10Error: the file cannot be opened, or read within the context; the message says why.
    """
    file = hdf5_file(path)
    try:
        yield file
    except READ_ERRORS as error:
        raise Galaxy10Error(hdf5_reason(path, error)) from error
    finally:
        file.close()


def hdf5_file(path: Path) -> h5py.File:
    """Return an HDF5 file opened for reading, without locks where the file system has none.

    Raises:
        Galaxy10Error: the file cannot be opened; the message says why.
    """
    try:
        check_heaps(path)
        try:
            return h5py.File(path, "r")
        except OSError as error:
            if "unable to lock file" not in str(error) or system_errno(error) == errno.EAGAIN:
                raise
            return h5py.File(path, "r", locking=False)  # the file system has no locks, and a reader needs none
    except OSError as error:
        raise Galaxy10Error(hdf5_reason(path, error)) from error


def hdf5_reason(path: Path, error: Exception) -> str:
    """Return why an HDF5 file, or data in it, cannot be read, and what to do.

    Args:
        error: one of READ_ERRORS.
    """
    text = first_line(error)
    if not isinstance(error, OSError):
        return f"{path} is damaged ({text}); copy or download it again"
    number = system_errno(error)
    if number == errno.EAGAIN:
        return f"{path} is open for writing in another program, such as a notebook; close it there (file.close())"
    if "unable to lock file" in text:
        return f"{path} is on a file system without locks; type HDF5_USE_FILE_LOCKING=FALSE before the command"
    if "already open for" in text:
        return (
            f"{path} is open for writing in another program, or was when that was killed; close it there, or if no "
            f"program has it open, type h5clear -s {path}"
        )
    if "truncated" in text:
        return f"{path} is truncated: it is shorter than its header says; copy or download it again"
    if "signature not found" in text:
        return f"{path} is not an HDF5 file; expected one with `images` (N, H, W, 3) and `ans` (N,)"
    if "lib/plugin" in text or "not registered" in text:
        return f"{path} is compressed with a filter that this HDF5 does not have; type pip install hdf5plugin"
    if system_reason(error):
        return f"{path} {system_reason(error)}"
    if any(word in text for word in _DAMAGED):
        return f"{path} is damaged ({text}); copy or download it again"
    return f"{path} cannot be read as HDF5 ({text}); if other programs cannot either, copy or download it again"


def dataset_named(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return a data set of an HDF5 file that can be read; None if there is no data set of that name.

    Raises:
        Galaxy10Error: the name is a link to a missing file or data set, a file of a virtual data set is missing, or
            the data set is compressed with a filter that is not installed.
    """
    path = Path(file.filename)
    try:
        link = file.get(name, getlink=True)
        if link is None:
            return None
        found = file[name]
    except (KeyError, OSError) as error:
        if isinstance(link, h5py.HardLink):
            raise Galaxy10Error(f"{path} is damaged: `{name}` cannot be opened; copy or download it again") from error
        raise Galaxy10Error(f"{path}: {_broken_link(path, name, link)}") from error
    if not isinstance(found, h5py.Dataset):
        return None
    _check_sources(found, name)
    _check_filters(found, name, path)
    return found


def names_in(file: h5py.File) -> str:
    """Return the names in an HDF5 file for a message."""
    return ", ".join(sorted(map(decode_text, file))) or "nothing"


def _broken_link(path: Path, name: str, link: object) -> str:
    if not isinstance(link, h5py.ExternalLink):
        return f"`{name}` is a link to {getattr(link, 'path', name)}, which is not in the file; give a file that has it"
    target = _beside(path, link.filename, "HDF5_EXT_PREFIX")
    if target is None:
        return f"`{name}` is a link to {link.filename}, which does not exist; put that file beside {path.name}"
    with open_hdf5(target) as other:  # says why, if it cannot be opened
        return f"`{name}` is a link to {link.path} in {target}, which has only {names_in(other)}"


def _beside(path: Path, name: str, prefix: str) -> Path | None:
    """Return the file that HDF5 finds under a name in another file; None if it finds none."""
    folders = [*os.environ.get(prefix, "").split(os.pathsep), str(path.resolve().parent), "."]
    names = (name, Path(name).name) if Path(name).is_absolute() else (name,)
    candidates = [Path(folder) / part for folder in folders if folder for part in names]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def source_files(dataset: h5py.Dataset) -> tuple[list[Path], list[str]]:
    """Return the other files that hold the values of a data set, and the names of those that are missing.

    HDF5 itself reads zeros in place of a missing source of a virtual data set.
    """
    path = Path(dataset.file.filename)
    named = [name for name, *_ in dataset.external or ()]  # raw files, in the folder that the command runs in
    found, missing = [Path(name) for name in named if Path(name).is_file()], [n for n in named if not Path(n).is_file()]
    sources = (
        {(source.file_name, source.dset_name) for source in dataset.virtual_sources()} if dataset.is_virtual else ()
    )
    for name, inside in sorted(sources):
        name, inside = (text.replace("%b", "0").replace("%%", "%") for text in (name, inside))  # a pattern of names
        target = path if name == "." else _beside(path, name, "HDF5_VDS_PREFIX")
        if target is None:
            missing.append(name)
            continue
        with open_hdf5(target) as other:
            if inside not in other:
                missing.append(f"{inside} in {name}")
        found += [] if name == "." else [target]
    return found, missing


def _check_sources(dataset: h5py.Dataset, name: str) -> None:
    found, missing = source_files(dataset)
    if missing:
        path, number = Path(dataset.file.filename), len(found) + len(missing)
        where = f"the folder of {path.name}" if dataset.is_virtual else "the folder that the command runs in"
        parts = f"{number} files, of which {len(missing)}" if number > 1 else "another file, which"
        raise Galaxy10Error(
            f"{path}: the values of `{name}` are in {parts} {'are' if len(missing) > 1 else 'is'} missing (the first: "
            f"{missing[0]}); put {'them' if len(missing) > 1 else 'it'} into {where}"
        )


def _check_filters(dataset: h5py.Dataset, name: str, path: Path) -> None:
    pipeline = dataset.id.get_create_plist()
    for index in range(pipeline.get_nfilters()):
        code, _, _, called = pipeline.get_filter(index)
        if h5py.h5z.filter_avail(code):
            continue
        with suppress(ImportError):
            import_module("hdf5plugin")  # registers its filters
        if not h5py.h5z.filter_avail(code):
            title = _FILTERS.get(code) or called.decode(errors="replace").partition(";")[0] or "a filter"
            raise Galaxy10Error(
                f"{path}: `{name}` is compressed with {title} (HDF5 filter {code}), which is not installed; type "
                "pip install hdf5plugin"
            )
