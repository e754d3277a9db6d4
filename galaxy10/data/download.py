"""The published files: where they lie on this machine, and how they get there."""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from galaxy10.errors import Galaxy10Error
from galaxy10.files import disk_error, replacing
from galaxy10.http import READ_S, DownloadError, fetch, host_of, unreachable

_STALE_S = 3600.0


@dataclass(frozen=True)
class PublishedFile:
    """One published HDF5 file.

    name: its file name; addresses: where it lies, in the order to try; checksum: "sha256:…" or "md5:…";
    num_images: its galaxies; num_bytes: its length, None where it is not known.
    """

    name: str
    addresses: tuple[str, ...]
    checksum: str
    num_images: int
    num_bytes: int | None = None


_RECORD = "https://zenodo.org/records/10845026/files"  # doi:10.5281/zenodo.10845026

PUBLISHED: Mapping[str, PublishedFile] = {
    "full": PublishedFile(
        "Galaxy10_DECals.h5",
        (
            f"{_RECORD}/Galaxy10_DECals.h5",
            "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
        ),
        "sha256:19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
        17_736,
        2_735_267_419,
    ),
    "no_duplicates": PublishedFile(
        "Galaxy10_DECals_NoDuplicated.h5",
        (f"{_RECORD}/Galaxy10_DECals_NoDuplicated.h5",),
        "md5:a920094d5e470e3705f4691c0d6dff54",
        17_675,
    ),
}


def locate_published(
    path: Path | None, data_dir: Path, variant: str, *, published: Mapping[str, PublishedFile] = PUBLISHED
) -> Path | None:
    """The published file on this machine: `path` if given, else under its own name in `data_dir`; None if absent.

    Only the length is compared, and only in `data_dir`: 2.7 GB take seconds to hash, and the checksum was verified
    when it was downloaded.

    Raises:
        Galaxy10Error: `path` does not exist, or the file in `data_dir` has not the published length.
    """
    if path is not None:
        if not path.is_file():
            raise Galaxy10Error(
                f"data.path={path} does not exist; give the place of {_file(variant, published).name}, "
                "or leave data.path out to have it looked for in data.dir"
            )
        return path
    file = _file(variant, published)
    target = data_dir / file.name
    if not target.exists():
        return None
    size = target.stat().st_size if target.is_file() else 0
    if not target.is_file() or (file.num_bytes is not None and size != file.num_bytes):
        raise Galaxy10Error(
            f"{target} has {size:,} bytes, the published file {file.num_bytes or 0:,}: it is not whole, or another; "
            f"delete it and give the same command again, or type data=hdf5 data.path={target} for a file of your own"
        )
    return target


def check_published_available(
    path: Path | None, data_dir: Path, variant: str, *, published: Mapping[str, PublishedFile] = PUBLISHED
) -> None:
    """That the published file is here or could be downloaded, found in 2 s at most without downloading anything.

    Raises:
        Galaxy10Error: it is not here, and no server answers, or `data_dir` cannot take it.
    """
    if locate_published(path, data_dir, variant, published=published) is not None:
        return
    file = _file(variant, published)
    _check_folder(data_dir, file)
    closed = unreachable(file.addresses)
    if len(closed) == len(file.addresses):
        raise _not_to_be_had(file, data_dir, variant, closed)


def download_published(
    data_dir: Path,
    variant: str = "full",
    *,
    timeout_s: float = READ_S,
    progress: bool = True,
    published: Mapping[str, PublishedFile] = PUBLISHED,
) -> Path:
    """The published file in `data_dir`, downloaded if it is not there.

    Nothing ever stands under the file's name but the whole file with the right checksum, whatever breaks off. Several
    processes may ask at once: one downloads, the others wait.

    Args:
        timeout_s: how long a server may be silent, seconds.
        progress: draw a bar, if standard error is a terminal.
        published: the table of published files.

    Raises:
        Galaxy10Error: no address gave it, with each address's reason and the ways out.
    """
    file = _file(variant, published)
    _check_folder(data_dir, file)
    target = data_dir / file.name
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(data_dir / f".{file.name}.lock")
        with lock:
            if locate_published(None, data_dir, variant, published=published) is not None:
                return target
            _remove_stale(target)
            failed = unreachable(file.addresses)
            for address in [a for a in file.addresses if a not in failed]:
                try:
                    with replacing(target) as part:
                        fetch(
                            address,
                            part,
                            checksum=file.checksum,
                            num_bytes=file.num_bytes,
                            timeout_s=timeout_s,
                            progress=progress,
                        )
                    return target
                except DownloadError as reason:
                    failed[address] = str(reason)
    except OSError as error:
        raise disk_error(target, error) from error
    raise _not_to_be_had(file, data_dir, variant, failed)


def _file(variant: str, published: Mapping[str, PublishedFile]) -> PublishedFile:
    if variant not in published:
        raise Galaxy10Error(f"there is no variant {variant} of the published file; type {' or '.join(published)}")
    return published[variant]


def _check_folder(data_dir: Path, file: PublishedFile) -> None:
    """That the folder, or the first of its parents that exists, can be written and has room."""
    there = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise Galaxy10Error(f"data.dir={data_dir}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Galaxy10Error(f"data.dir={data_dir} cannot be written; give a folder that can, or data.path={file.name}")
    free = shutil.disk_usage(there).free
    if file.num_bytes is not None and free < file.num_bytes:
        raise Galaxy10Error(
            f"{file.name} needs {file.num_bytes / 1e9:.1f} GB, {there.absolute()} has {free / 1e9:.1f} GB free: "
            "make room, or give another folder with data.dir (galaxy10 download: -o)"
        )


def _remove_stale(target: Path) -> None:
    """Clear away what a killed download left. A live one is younger: where locks do not work two may be under way."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        if time.time() - part.stat().st_mtime > _STALE_S:
            part.unlink(missing_ok=True)


def _not_to_be_had(file: PublishedFile, data_dir: Path, variant: str, failed: Mapping[str, str]) -> Galaxy10Error:
    reasons = "; ".join(f"{host_of(address)}: {failed[address]}" for address in file.addresses)
    command = "galaxy10 download" + ("" if variant == "full" else f" --variant {variant}")
    return Galaxy10Error(
        f"{file.name} is not here and cannot be downloaded ({reasons}); put it at {(data_dir / file.name).absolute()} "
        f"or give data.path=FILE (on a machine with a network, `{command}` fetches it), "
        "or type data=simulated, which needs nothing"
    )
