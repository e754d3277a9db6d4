"""Write a page about a labelled HDF5 file, before any training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.data.dataset_stats import (
    PixelStats,
    conflicting_duplicates,
    count_same_label_duplicates,
    find_overlaps,
    pixel_stats,
)
from galaxy10.data.groups import has_positions
from galaxy10.data.hdf5 import SourceFile, open_source
from galaxy10.data.labels import shortened
from galaxy10.data.published import is_published, with_published_names
from galaxy10.data.quality import stored_line
from galaxy10.data.store import Store, file_identity, open_store, store_directory
from galaxy10.reports.figures.classes import class_counts
from galaxy10.reports.figures.dataset import channel_histogram, histogram
from galaxy10.reports.figures.galleries import gallery
from galaxy10.reports.html import Card, Drawing, cards, render, write_figure, write_file

PER_CLASS, MOST_CARDS = 8, 320  # galaxies of each class on the sample sheet, and of all classes together
MOST_SAMPLES = 60  # galaxies in the figure of samples
MOST_DUPLICATES = 24
_SLOW_CHUNKS = 16  # random access is slow if one image lies in more chunks


def inspect_file(
    path: Path, out_dir: Path, class_names: Sequence[str] | None = None, store_dir: Path | None = None
) -> Path:
    """Write index.html and figures/*.png about a file: classes, samples, duplicates, blanks, overlaps, statistics.

    Args:
        path: a file with `images` (N, H, W, 3) uint8 and `ans` (N,); ra, dec (degrees), redshift and pxscale
            (arcsec/pixel) are optional.
        out_dir: the folder to write to, created if necessary.
        class_names: names in label order; None: those in the file.
        store_dir: the folder of the memory-mapped copy, which training uses, too; None: beside the file if writable,
            else out_dir.

    Returns:
        The path of index.html.

    Raises:
        Galaxy10Error: the file is not valid, or out_dir cannot be written.
    """
    out = Path(out_dir)
    source, guessed = _with_names(open_source(Path(path), class_names, key="FILE"))
    store = open_store(source, store_directory(source.path, store_dir, out))
    pixels = pixel_stats(store.images)
    figures = {d.name: write_figure(d, out / "figures") for d in _drawings(source, store, pixels)}
    duplicates = conflicting_duplicates(store.table)
    page = render(
        "inspect.html.j2",
        source=source,
        guessed=guessed,
        identity=file_identity(source.path),
        facts=_facts(source),
        warnings=_warnings(source, store),
        figures=figures,
        samples=_sample_sheet(source, store),
        duplicates=_duplicate_rows(source, duplicates),
        num_duplicates=int(duplicates["galaxy"].nunique()),
        duplicate_kinds=_duplicate_kinds(source, duplicates),
        duplicate_cards=_duplicate_cards(source, store, duplicates),
        repeats=count_same_label_duplicates(store.table),
        blanks=_blanks(source, store),
        overlaps=find_overlaps(store.table, max(source.height, source.width)) if has_positions(store.table) else None,
        channels=list(zip(("red", "green", "blue"), pixels.mean, pixels.std, pixels.saturated, strict=True)),
        class_rows=_class_rows(source, pixels),
    )
    return write_file(out / "index.html", page.encode())


def _with_names(source: SourceFile) -> tuple[SourceFile, bool]:
    """Add the class names of Galaxy10 DECaLS to a published file, which has none; return whether they were added."""
    if source.class_names is not None or not is_published(source):
        return source, False
    return with_published_names(source), True


def _facts(source: SourceFile) -> list[tuple[str, Any]]:
    table = source.table
    lines: list[tuple[str, Any]] = [
        ("file", str(source.path.resolve())),
        ("size", f"{source.path.stat().st_size:,} bytes"),
        ("images", f"{source.num_images:,} of {source.height} × {source.width} pixels, three colours"),
        ("classes", source.num_classes),
        ("stored in chunks of", " × ".join(map(str, source.chunks)) if source.chunks else "one piece, not chunked"),
    ]
    for key, name in (("ra", "positions"), ("redshift", "redshifts"), ("pxscale", "pixel scales")):
        there = int(np.isfinite(table[key]).sum())
        missing = f", missing for {len(table) - there:,}" if there < len(table) else ""
        lines.append((name, f"{there:,}{missing}" if there else "none in the file"))
    return lines


def _warnings(source: SourceFile, store: Store) -> list[str]:
    """Return warnings about the order, the layout, the classes and the pixels of the file."""
    spoilt = stored_line(store.table)
    found = [f"{spoilt[0].upper()}{spoilt[1:]}."] if spoilt else []
    labels = source.table["label"].to_numpy()
    if (np.diff(labels) >= 0).all():
        found.append("The file is sorted by class: a split by row number would leave classes out of subsets.")
    if source.chunks:
        _, height, width, channels = source.chunks
        touched = -(-source.height // height) * -(-source.width // width) * -(-3 // channels)
        if touched > _SLOW_CHUNKS:
            found.append(
                f"One image lies in {touched} chunks of {source.chunks[0]} images each: reading single images from "
                "this file is slow. galaxy10 reads the file once, in order, into a memory-mapped copy."
            )
    counts = np.bincount(labels, minlength=source.num_classes)
    empty = [name for number, name in zip(counts, source.names, strict=True) if not number]
    if empty:
        found.append(f"No galaxy is labelled {shortened(empty)}.")
    return found


def _drawings(source: SourceFile, store: Store, pixels: PixelStats) -> list[Drawing]:
    table = source.table
    counts = np.bincount(table["label"], minlength=source.num_classes)
    drawings = [
        Drawing("class_counts", "Galaxies per class", "As labelled in the file.", class_counts(counts, source.names)),
        Drawing(
            "channels",
            "Brightness of the pixels",
            "All pixels of all images, by channel; logarithmic. A step at 1 means saturated centres.",
            channel_histogram(pixels.levels),
        ),
    ]
    for key, label, title, log in (
        ("redshift", "redshift", "Redshifts", False),
        ("pxscale", "pixel scale (arcsec/pixel)", "Pixel scales", True),
    ):
        values = table[key].to_numpy()
        if np.isfinite(values).any():
            missing = int((~np.isfinite(values)).sum())
            caption = f"Missing for {missing:,} of {len(values):,} galaxies." if missing else "Known for every galaxy."
            drawings.append(Drawing(key, title, caption, histogram(values, label, log)))
    rows, captions = _sample_rows(source, max(1, min(5, MOST_SAMPLES // source.num_classes)))
    drawings.append(Drawing("samples", "", "", gallery(store.images[rows[:MOST_SAMPLES]], captions[:MOST_SAMPLES])))
    return drawings


def _rows_of_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return the rows of each class, in file order, from labels (N,)."""
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))[:-1]
    return np.split(np.argsort(labels, kind="stable"), ends)


def _sample_rows(source: SourceFile, per_class: int) -> tuple[np.ndarray, list[str]]:
    """Return the rows (n,) of a few galaxies of every class, drawn with a fixed seed, and their captions."""
    rng = np.random.default_rng(0)
    labels = source.table["label"].to_numpy()
    chosen = [
        np.sort(rng.choice(rows, min(per_class, len(rows)), replace=False))
        for rows in _rows_of_classes(labels, source.num_classes)
    ]
    rows = np.concatenate(chosen)
    return rows, [f"{source.names[labels[row]]}\nrow {row}" for row in rows]


def _sample_sheet(source: SourceFile, store: Store) -> list[tuple[str, list[Card]]]:
    rows, _ = _sample_rows(source, max(1, min(PER_CLASS, MOST_CARDS // source.num_classes)))
    labels = source.table["label"].to_numpy()[rows]
    sheet = []
    for name, positions in zip(source.names, _rows_of_classes(labels, source.num_classes), strict=True):
        of_class = rows[positions]
        if len(of_class):
            sheet.append((name, cards(store.images[of_class], [(f"row {row}",) for row in of_class])))
    return sheet


def _duplicate_rows(source: SourceFile, duplicates: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "rows": ", ".join(str(row) for row in members["row"]),
            "labels": ", ".join(source.names[label] for label in members["label"]),
            "separation": members["separation_arcsec"].max(),
        }
        for _, members in duplicates.groupby("galaxy")
    ]


def _duplicate_kinds(source: SourceFile, duplicates: pd.DataFrame) -> list[tuple[str, int]]:
    """Count each set of conflicting labels, the most frequent first."""
    kinds = [" – ".join(source.names[i] for i in sorted(set(m["label"]))) for _, m in duplicates.groupby("galaxy")]
    return [(str(kind), int(number)) for kind, number in pd.Series(kinds, dtype=object).value_counts().items()]


def _duplicate_cards(source: SourceFile, store: Store, duplicates: pd.DataFrame) -> list[Card]:
    shown = duplicates.head(MOST_DUPLICATES)
    texts = [(source.names[label], f"row {row}") for row, label in zip(shown["row"], shown["label"], strict=True)]
    return cards(store.images[shown["row"].to_numpy()], texts)


def _blanks(source: SourceFile, store: Store) -> list[tuple[int, str, int]]:
    """Return row, class and the value of all bytes of each blank image."""
    blank = store.table[store.table["blank"]]
    return [
        (int(row), source.names[label], int(store.images[row, 0, 0, 0]))
        for row, label in zip(blank["row"], blank["label"], strict=True)
    ]


def _class_rows(source: SourceFile, pixels: PixelStats) -> list[dict[str, Any]]:
    table = source.table.assign(brightness=pixels.brightness)
    rows = []
    for name, positions in zip(
        source.names, _rows_of_classes(table["label"].to_numpy(), source.num_classes), strict=True
    ):
        of_class = table.iloc[positions]
        redshift, scale = (of_class[key].dropna() for key in ("redshift", "pxscale"))
        rows.append(
            {
                "name": name,
                "count": len(of_class),
                "share": len(of_class) / len(table),
                "brightness": of_class["brightness"].mean(),
                "redshift": redshift.median() if len(redshift) else None,
                "scale": scale.median() if len(scale) else None,
            }
        )
    return rows
