"""Recognise the published files: by size and class counts at once, by their checksum once per store."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES
from galaxy10.config.overrides import typed_setting
from galaxy10.data.download import PUBLISHED
from galaxy10.data.hdf5 import SourceFile
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.progress import progress

PUBLISHED_PX = 256
VARIANTS = {"full": GALAXY10_COUNTS, "no_duplicates": GALAXY10_COUNTS_NO_DUPLICATES}
_HASHED_BYTES = 1 << 24


def variant_of(source: SourceFile) -> str | None:
    """Return which published file this is by its size and class counts; None if it is another file."""
    if (source.height, source.width) != (PUBLISHED_PX, PUBLISHED_PX):
        return None
    counts = tuple(np.bincount(source.table["label"], minlength=source.num_classes).tolist())
    return next((name for name, published in VARIANTS.items() if counts == published), None)


def is_published(source: SourceFile) -> bool:
    """Return whether a file is Galaxy10 DECaLS by its size and class counts, or a simulation of it by its names."""
    return variant_of(source) is not None or source.class_names == GALAXY10_CLASSES


def with_published_names(source: SourceFile) -> SourceFile:
    """Return a published file with its class names, which are not in the file."""
    return source if source.class_names is not None else replace(source, class_names=GALAXY10_CLASSES)


def as_published(source: SourceFile, variant: str) -> SourceFile:
    """Return a file given for data=galaxy10 with its class names; if it is the other variant, with a note.

    Args:
        variant: the variant in the settings; `full` is their default.

    Raises:
        Galaxy10Error: it is no published file and no simulation, or it contradicts the variant.
    """
    if not is_published(source):
        expected = " or ".join(f"{sum(counts):,}" for counts in VARIANTS.values())
        raise Galaxy10Error(
            f"{source.path} is not Galaxy10 DECaLS ({source.num_images:,} images of {source.height}×{source.width} px "
            f"in {source.num_classes} classes; expected {expected} of {PUBLISHED_PX}×{PUBLISHED_PX} px in the "
            f"published classes); type data=hdf5 {typed_setting('data.path', source.path)}"
        )
    found = variant_of(source)
    if found is not None and found != variant:
        described = f"{source.path} is the variant {found} of Galaxy10 DECaLS ({source.num_images:,} images)"
        if variant != "full":
            raise Galaxy10Error(f"{described}, not {variant}; type data.variant={found}")
        source = replace(source, notes=(*source.notes, described))
    return with_published_names(source)


def verify_published(source: SourceFile, store: Path) -> None:
    """Compare the checksum of a published file with the published one, once per store.

    A file that is no published one by its counts, such as a simulation, is not compared.

    Args:
        store: the folder of the file's store, which keeps the result.

    Raises:
        Galaxy10Error: the file is damaged or changed.
    """
    variant, kept = variant_of(source), store / "published.json"
    if variant is None or read_json(kept).get("variant") == variant:
        return
    algorithm, _, expected = PUBLISHED[variant].checksum.partition(":")
    found = _digest(source.path, algorithm)
    if found != expected:
        raise Galaxy10Error(
            f"{source.path} has the galaxies of {PUBLISHED[variant].name} but another checksum ({algorithm} "
            f"{found[:12]}… instead of {expected[:12]}…): it is damaged or changed; download it again "
            f"(`galaxy10 download`), or type data=hdf5 {typed_setting('data.path', source.path)} for a file of your own"
        )
    try:
        write_json(kept, {"variant": variant, algorithm: found})
    except Galaxy10Error:  # a store that cannot be written is compared again at the next start
        return


def _digest(path: Path, algorithm: str) -> str:
    digest, done = hashlib.new(algorithm), 0
    reading = progress("checking the published file", path.stat().st_size // 10**6, unit="MB")
    with path.open("rb") as file, reading as update:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
            done += len(block)
            update(done // 10**6)
    return digest.hexdigest()
