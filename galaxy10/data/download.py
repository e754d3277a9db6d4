"""Find the published files on this machine, and download them."""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from galaxy10.config.overrides import typed_setting
from galaxy10.errors import Galaxy10Error
from galaxy10.files import write_error
from galaxy10.http import READ_S, DownloadError, find_unreachable, hostname
from galaxy10.transfer import download_file, exclusive, own_part, part_of

_STALE_S = 3600.0


@dataclass(frozen=True)
class PublishedFile:
    """One published HDF5 file.

    Attributes:
        name: file name.
        urls: in the order to try.
        checksum: "sha256:…" or "md5:…".
        num_images: number of galaxies.
        num_bytes: length; None if unknown.
    """

    name: str
    urls: tuple[str, ...]
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
    """Return the published file on this machine: `path` if given, else its place in `data_dir`; None if absent.

    Only the length is compared, and only in `data_dir`: 2.7 GB take seconds to hash, and the download has verified the
    checksum.

    Raises:
        Galaxy10Error: `path` does not exist, or the file in `data_dir` does not have the published length.
    """
    if path is not None:
        if not path.is_file():
            raise Galaxy10Error(
                f"data.path={path} does not exist; give the path of {_file(variant, published).name}, "
                "or leave data.path out to use data.dir"
            )
        return path
    file = _file(variant, published)
    target = data_dir / file.name
    if not target.exists():
        return None
    size = target.stat().st_size if target.is_file() else 0
    if not target.is_file() or (file.num_bytes is not None and size != file.num_bytes):
        raise Galaxy10Error(
            f"{target} has {size:,} bytes, the published file {file.num_bytes or 0:,}; it is incomplete or "
            f"another file: delete it and run the command again, or type data=hdf5 "
            f"{typed_setting('data.path', target)} for your own file"
        )
    return target


def check_published_available(
    path: Path | None, data_dir: Path, variant: str, *, published: Mapping[str, PublishedFile] = PUBLISHED
) -> None:
    """Check within 2 s that the published file is on this machine or can be downloaded; nothing is downloaded.

    Raises:
        Galaxy10Error: the file is not here, and no server can be reached, or `data_dir` cannot hold it.
    """
    if locate_published(path, data_dir, variant, published=published) is not None:
        return
    file = _file(variant, published)
    _check_folder(data_dir, file)
    failed = find_unreachable(file.urls)
    if len(failed) == len(file.urls):
        raise _unavailable(file, data_dir, variant, failed)


def download_published(
    data_dir: Path,
    variant: str = "full",
    *,
    timeout_s: float = READ_S,
    progress: bool = True,
    published: Mapping[str, PublishedFile] = PUBLISHED,
) -> Path:
    """Return the published file in `data_dir`, downloaded if it is not there.

    The file appears under its name only when it is complete and its checksum is right. What came of an interrupted
    download is kept beside it (`.part`) and continued. Of several processes at once, one downloads and the others wait.

    Args:
        timeout_s: seconds that a server may send nothing.
        progress: draw a progress bar if standard error is a terminal.
        published: the table of published files.

    Raises:
        Galaxy10Error: every URL failed; the message has the reasons and what to do.
    """
    file = _file(variant, published)
    _check_folder(data_dir, file)
    target = data_dir / file.name
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(data_dir / f".{file.name}.lock") as alone:
            if locate_published(None, data_dir, variant, published=published) is not None:
                return target
            _remove_stale(target)
            failed = find_unreachable(file.urls)
            for url in [u for u in file.urls if u not in failed]:
                try:
                    download_file(
                        url,
                        target,
                        checksum=file.checksum,
                        num_bytes=file.num_bytes,
                        timeout_s=timeout_s,
                        progress=progress,
                        part=None if alone else own_part(target),
                    )
                    return target
                except DownloadError as reason:
                    failed[url] = str(reason)
    except OSError as error:
        raise write_error(target, error) from error
    raise _unavailable(file, data_dir, variant, failed)


def _file(variant: str, published: Mapping[str, PublishedFile]) -> PublishedFile:
    if variant not in published:
        raise Galaxy10Error(f"the published file has no variant {variant}; type {' or '.join(published)}")
    return published[variant]


def _check_folder(data_dir: Path, file: PublishedFile) -> None:
    """Check that the folder, or its first existing parent, can be written and has enough space."""
    there = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise Galaxy10Error(f"data.dir={data_dir}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Galaxy10Error(f"data.dir={data_dir} cannot be written; give a writable folder, or data.path={file.name}")
    free = shutil.disk_usage(there).free
    part = part_of(data_dir / file.name)
    came = part.stat().st_size if part.exists() else 0
    if file.num_bytes is not None and free < file.num_bytes - came:
        raise Galaxy10Error(
            f"{file.name} needs {file.num_bytes / 1e9:.1f} GB, {there.absolute()} has {free / 1e9:.1f} GB free: "
            "free some space, or set data.dir to another folder (galaxy10 download: -o)"
        )


def _remove_stale(target: Path) -> None:
    """Delete the parts of killed downloads where file locks do not work; younger ones may be in progress."""
    for pattern in (f".{target.name}.*.part", f".{target.name}.*.part.json"):
        for part in target.parent.glob(pattern):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink(missing_ok=True)


def _unavailable(file: PublishedFile, data_dir: Path, variant: str, failed: Mapping[str, str]) -> Galaxy10Error:
    reasons = "; ".join(f"{hostname(url)}: {failed[url]}" for url in file.urls)
    command = "galaxy10 download" + ("" if variant == "full" else f" --variant {variant}")
    return Galaxy10Error(
        f"{file.name} is not here and cannot be downloaded ({reasons}); put it at {(data_dir / file.name).absolute()} "
        f"or type data.path=FILE (on a machine with internet access, `{command}` downloads it), "
        "or type data=simulated, which needs no file"
    )
