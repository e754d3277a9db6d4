"""Compare runs galaxy by galaxy: galaxies that every run misclassifies, and McNemar's test of two experiments."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from galaxy10.metrics.mcnemar import McNemarResult, holm, mcnemar
from galaxy10.reports.html import Card, cards
from galaxy10.reports.seed_groups import SeedGroup, seed_of
from galaxy10.runs.record import RunRecord

MOST_SHOWN = 24
MOST_PAIRS_OF = 6  # with more experiments, each is compared with the best one only


@dataclass(frozen=True)
class MisclassifiedGalaxies:
    """Galaxies that every run of every experiment misclassifies.

    Attributes:
        total: number of galaxies that all runs evaluated.
        by_class: class name, number of its misclassified galaxies, number of its galaxies.
        predictions: row, true class and most frequent prediction of each galaxy, ordered by the agreement of the runs.
    """

    number: int
    total: int
    num_runs: int
    by_class: list[tuple[str, int, int]]
    predictions: list[tuple[int, str, str]]
    cards: list[Card]


@dataclass(frozen=True)
class PairwiseTest:
    """McNemar's test of two experiments; p_holm is corrected for the number of pairs on the page."""

    first: str
    second: str
    seeds: tuple[object, object]
    test: McNemarResult
    p_holm: float

    @property
    def conclusion(self) -> str:
        """Return the result in words, at a significance level of 5 %."""
        if self.p_holm >= 0.05:
            return "no significant difference"
        return f"{self.first if self.test.only_first > self.test.only_second else self.second} is better"


def always_misclassified(experiments: Sequence[SeedGroup], subset: str) -> MisclassifiedGalaxies | None:
    """Return the galaxies that every run misclassifies; None with predictions of fewer than two experiments."""
    evaluated = [e for e in experiments if all(subset in run.predictions for run in e.runs)]
    runs = [run for experiment in evaluated for run in experiment.runs]
    if len(evaluated) < 2:
        return None
    predicted = pd.concat([run.predictions[subset].set_index("row")["predicted"] for run in runs], axis=1, join="inner")
    labels = runs[0].predictions[subset].set_index("row")["label"].loc[predicted.index]
    wrong = predicted.to_numpy() != labels.to_numpy()[:, None]
    hard = wrong.all(axis=1)
    common = predicted[hard].mode(axis=1)[0].astype(int) if hard.any() else pd.Series(dtype=int)
    agreement = predicted[hard].eq(common, axis=0).mean(axis=1)
    rows = agreement.sort_values(ascending=False, kind="stable").index
    name = runs[0].name_of
    lines = [(int(r), name(int(labels[r])), name(int(common[r]))) for r in rows]
    of_class, hard_of_class = labels.value_counts(), labels[hard].value_counts()
    return MisclassifiedGalaxies(
        number=int(hard.sum()),
        total=len(predicted),
        num_runs=len(runs),
        by_class=[(name(int(c)), int(hard_of_class.get(c, 0)), int(of_class[c])) for c in sorted(of_class.index)],
        predictions=lines,
        cards=_cards(runs, subset, lines),
    )


def _cards(runs: Sequence[RunRecord], subset: str, lines: list[tuple[int, str, str]]) -> list[Card]:
    """Return the images of galaxies that a run kept among its misclassified ones."""
    images: dict[int, np.ndarray] = {}
    for run in runs:
        sample = run.samples.get(f"misclassified_{subset}")
        if sample is not None:
            images = {int(row): image for row, image in zip(sample["rows"], sample["images"], strict=True)} | images
    shown = [line for line in lines if line[0] in images][:MOST_SHOWN]
    return [
        card for row, true, guess in shown for card in cards(images[row][None], [(true, f"→ {guess}", f"row {row}")])
    ]


def pairwise_tests(experiments: Sequence[SeedGroup], subset: str) -> list[PairwiseTest]:
    """Return McNemar's test of every pair of experiments; of more than MOST_PAIRS_OF, each against the best one.

    experiments: the best first.
    """
    tested = [e for e in experiments if subset in e.runs[0].predictions]
    if len(tested) <= MOST_PAIRS_OF:
        return compare_pairs(list(combinations(tested, 2)), subset)
    return compare_pairs([(tested[0], e) for e in tested[1:]], subset)


def compare_pairs(pairs: Sequence[tuple[SeedGroup, SeedGroup]], subset: str) -> list[PairwiseTest]:
    """Return McNemar's test of pairs of experiments, corrected for their number.

    Two experiments are compared with the first seed that both have, else with the first seed of each.
    """
    chosen = [_same_seed(first, second, subset) for first, second in pairs]
    tests = [mcnemar(*_right(one, other, subset)) for one, other in chosen]
    corrected = holm([test.p for test in tests])
    return [
        PairwiseTest(first.name, second.name, (seed_of(one), seed_of(other)), test, p)
        for (first, second), (one, other), test, p in zip(pairs, chosen, tests, corrected, strict=True)
    ]


def _same_seed(first: SeedGroup, second: SeedGroup, subset: str) -> tuple[RunRecord, RunRecord]:
    for one in first.runs:
        for other in second.runs:
            if seed_of(one) == seed_of(other) and subset in one.predictions and subset in other.predictions:
                return one, other
    return first.runs[0], second.runs[0]


def _right(one: RunRecord, other: RunRecord, subset: str) -> tuple[np.ndarray, np.ndarray]:
    both = one.predictions[subset].merge(other.predictions[subset], on="row", suffixes=("_one", "_other"))
    right = [(both[f"label_{side}"] == both[f"predicted_{side}"]).to_numpy() for side in ("one", "other")]
    return right[0], right[1]
