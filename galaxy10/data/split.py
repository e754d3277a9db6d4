"""The split into train, val and test: a function of (file, protocol, split seed), equal on every machine."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from galaxy10.data.coordinates import unit_remark
from galaxy10.data.given_split import GivenSplit, fold_subsets, given_subsets
from galaxy10.data.groups import (
    FIELD_ARCSEC,
    count_unknown_scales,
    field_arcsec,
    find_conflicting_duplicates,
    find_groups,
    has_positions,
)
from galaxy10.data.stratify import assign_parts, check_class_sizes, rare_classes
from galaxy10.data.subsets import SUBSETS
from galaxy10.data.votes import NO_VOTES, votes_of, without_votes
from galaxy10.errors import Galaxy10Error

# Shares of train, val and test. In the published baseline's two protocols the held-out part is the test subset, and a
# tenth of the rest is the validation subset.
PROTOCOLS = {
    "default": (0.70, 0.10, 0.20),
    "baseline_80_20": (0.72, 0.08, 0.20),
    "baseline_90_10": (0.81, 0.09, 0.10),
}
FROM_FILE = "file"  # the protocol that keeps the subsets of the file
MIN_GROUPS_PER_CLASS = 3


@dataclass(frozen=True)
class Split:
    """A split of a file.

    Attributes:
        table: row, subset (train|val|test|dropped), fold (−1 without folds), group, reason (if dropped), label.
        hash: of the subsets and the file's content; results with different hashes are not comparable.
        notes: remarks for the report.
        folds_hash: of all folds and the file's content, equal for all folds of one k-fold split; None without folds.
        given: the table that the subsets come from; None if they were drawn.
    """

    table: pd.DataFrame
    hash: str
    notes: tuple[str, ...]
    folds_hash: str | None = None
    given: GivenSplit | None = None

    def rows(self, subset: str) -> np.ndarray:
        """Return the rows (n,) of one subset, in file order."""
        return self.table.loc[self.table["subset"] == subset, "row"].to_numpy()

    def counts(self) -> dict[str, int]:
        """Return the number of images per subset, the dropped included."""
        found = self.table["subset"].value_counts()
        return {subset: int(found.get(subset, 0)) for subset in (*SUBSETS, "dropped")}


def make_split(
    table: pd.DataFrame,
    content: str,
    class_names: tuple[str, ...],
    *,
    protocol: str = "default",
    split_seed: int = 0,
    num_folds: int | None = None,
    fold: int | None = None,
    duplicates: str = "drop",
    blanks: str = "drop",
    size_px: int | None = None,
    group_radius_arcsec: float | None = None,
    given: GivenSplit | None = None,
) -> Split:
    """Split a file, stratified by class, with each group in one subset.

    A group is one field of sky, identical pixels, or a `group` of the file (see groups.find_groups). The class is that
    with the most votes where a file has votes; rows without votes are dropped.

    Args:
        table: the store's table: row, label, ra, dec (degrees), pixel_hash, blank, and optionally group and votes.
        content: the store's content hash, part of the split's hash.
        protocol: a key of PROTOCOLS, or `file`: the subsets of the file (given_subset), with a tenth of the training
            groups as validation images if it has none; not used with num_folds.
        num_folds, fold: cross-validation: fold k is test, fold (k+1) mod n is val.
        duplicates: for galaxies with conflicting labels: `drop` all their rows, keep the `first` one, or `keep` all.
        blanks: `drop` or `keep` images of one colour.
        size_px: larger side of the images: a field is pixel scale × size; None: FIELD_ARCSEC.
        group_radius_arcsec: of a field, instead.
        given: a split table, whose subsets or folds are used; protocol is then not used.

    Raises:
        Galaxy10Error: a class is too small to be in every subset (with votes: all classes are), no image is left, or
            the given split cannot be used.
    """
    assumed = 0
    radius: float | np.ndarray = FIELD_ARCSEC if group_radius_arcsec is None else group_radius_arcsec
    if group_radius_arcsec is None and size_px is not None:
        radius, assumed = field_arcsec(table, size_px), count_unknown_scales(table)
    groups = find_groups(table, radius)
    reason = _reasons(table, duplicates, blanks)
    kept = reason == ""
    if not kept.any():
        reasons = ", ".join(f"{number} {name}" for name, number in pd.Series(reason).value_counts().items())
        raise Galaxy10Error(f"no image is left to train on ({reasons}); type data.duplicates=keep data.blanks=keep")
    labels = table["label"].to_numpy()
    has_votes = votes_of(table) is not None  # a class may be learned from votes of galaxies of other classes
    if given is None and protocol == FROM_FILE and not num_folds:
        given = GivenSplit.of_file(table)
    remarks: list[str] = []
    folds = np.full(len(table), -1)
    if given is not None:
        subset, folds, remarks = given_subsets(
            given,
            labels,
            kept,
            groups,
            class_names,
            split_seed=split_seed,
            num_folds=num_folds,
            fold=fold,
            every_class=not has_votes,
        )
        unused = kept & (subset == "dropped")
        reason[unused] = given.reason[unused]
    else:
        shares = np.full(num_folds, 1 / num_folds) if num_folds else np.array(PROTOCOLS[protocol])
        needed = max(len(shares), MIN_GROUPS_PER_CLASS)
        rare = rare_classes(labels[kept], groups[kept], len(class_names), needed) if has_votes else []
        if len(rare) < len(np.unique(labels[kept])):
            remarks += [
                f"class {class_names[k]!r} has the most votes of too few galaxies for every subset" for k in rare
            ]
        sized = kept & ~np.isin(labels, rare) if remarks else kept
        check_class_sizes(labels[sized], groups[sized], class_names, needed, float(np.median(radius)))
        part = np.full(len(table), -1)
        part[kept] = assign_parts(
            groups[kept], labels[kept], len(class_names), shares, np.random.default_rng(split_seed)
        )
        if num_folds:
            folds, subset = part, fold_subsets(part, num_folds, fold)
        else:
            subset = np.array((*SUBSETS, "dropped"), dtype=object)[part]
        if "given_subset" in table:
            remarks.append("the file has a split of its own, which is not used; data.protocol=file uses it")
    result = _result(table, subset, folds, groups, reason)
    notes = (*_notes(table, result, assumed), *remarks)
    folds_hash = _hash(content, folds.astype(np.int16)) if num_folds else None
    return Split(result, split_hash(result, content), notes, folds_hash, given)


def _result(
    table: pd.DataFrame, subset: np.ndarray, fold: np.ndarray, groups: np.ndarray, reason: np.ndarray
) -> pd.DataFrame:
    row, label = table["row"].to_numpy(), table["label"].to_numpy()
    return pd.DataFrame({"row": row, "subset": subset, "fold": fold, "group": groups, "reason": reason, "label": label})


def split_hash(table: pd.DataFrame, content: str) -> str:
    """Return a hash of the subsets and of the file's content; results with different hashes are not comparable."""
    codes = table["subset"].map({name: i for i, name in enumerate((*SUBSETS, "dropped"))}).to_numpy(np.uint8)
    return _hash(content, codes)


def _hash(content: str, codes: np.ndarray) -> str:
    return hashlib.sha256(content.encode() + codes.tobytes()).hexdigest()[:16]


def _reasons(table: pd.DataFrame, duplicates: str, blanks: str) -> np.ndarray:
    reason = np.full(len(table), "", dtype=object)
    if duplicates != "keep":
        galaxy = find_conflicting_duplicates(table)
        conflicting = galaxy >= 0
        if duplicates == "first":
            conflicting &= pd.Series(galaxy).duplicated().to_numpy()
        reason[conflicting] = "duplicate with a conflicting label"
    if blanks == "drop":
        reason[table["blank"].to_numpy()] = "blank image"
    reason[without_votes(table)] = NO_VOTES
    return reason


def _notes(table: pd.DataFrame, result: pd.DataFrame, assumed: int) -> tuple[str, ...]:
    notes = []
    by = "by the file's `group` and identical pixels" if "group" in table else "by identical pixels"
    if not has_positions(table):
        notes.append(f"the file has no sky positions (ra, dec): galaxies are grouped {by} only")
    elif missing := int((table["ra"].isna() | table["dec"].isna()).sum()):
        notes.append(f"{missing} images have no sky position (ra, dec): they are grouped {by} only")
    if remark := unit_remark(table["ra"].to_numpy(), table["dec"].to_numpy()):
        notes.append(remark)
    if assumed:
        notes.append(
            f"{assumed} images have no pixel scale (pxscale): a field of {FIELD_ARCSEC:g}″ is assumed, within which "
            "images stay in one subset; data.group_radius_arcsec sets another"
        )
    for reason, count in result.loc[result["reason"] != "", "reason"].value_counts().items():
        notes.append(f"{count} images dropped: {reason}")
    return tuple(notes)
