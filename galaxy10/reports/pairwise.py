"""Galaxy by galaxy: which ones nobody gets right, and whether two models really differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from galaxy10.metrics.mcnemar import McNemarResult, holm, mcnemar
from galaxy10.reports.experiments import Experiment, seed_of
from galaxy10.reports.html import Card, cards
from galaxy10.runs.record import RunRecord

MOST_SHOWN = 24
MOST_PAIRS_OF = 6  # beyond so many experiments each is compared with the best one only


@dataclass(frozen=True)
class HardGalaxies:
    """Galaxies that no run of any experiment got right.

    by_class: class name, how many of its galaxies are hard, how many it has.
    verdicts: one line per galaxy: row, true class, its commonest verdict; those most agreed upon come first.
    """

    number: int
    total: int
    num_runs: int
    by_class: list[tuple[str, int, int]]
    verdicts: list[tuple[int, str, str]]
    cards: list[Card]


@dataclass(frozen=True)
class PairwiseTest:
    """McNemar's test between two experiments; p_holm is corrected for the number of pairs on the page."""

    first: str
    second: str
    seeds: tuple[object, object]
    test: McNemarResult
    p_holm: float

    @property
    def verdict(self) -> str:
        """What it means, in words."""
        if self.p_holm >= 0.05:
            return "no difference shown"
        return f"{self.first if self.test.only_first > self.test.only_second else self.second} is better"


def always_misclassified(experiments: Sequence[Experiment], subset: str) -> HardGalaxies | None:
    """The galaxies every run gets wrong; None unless two experiments judged the same galaxies."""
    judged = [e for e in experiments if all(subset in run.predictions for run in e.runs)]
    runs = [run for experiment in judged for run in experiment.runs]
    if len(judged) < 2:
        return None
    verdicts = pd.concat([run.predictions[subset].set_index("row")["predicted"] for run in runs], axis=1, join="inner")
    labels = runs[0].predictions[subset].set_index("row")["label"].loc[verdicts.index]
    wrong = verdicts.to_numpy() != labels.to_numpy()[:, None]
    hard = wrong.all(axis=1)
    common = verdicts[hard].mode(axis=1)[0].astype(int) if hard.any() else pd.Series(dtype=int)
    agreement = verdicts[hard].eq(common, axis=0).mean(axis=1)
    rows = agreement.sort_values(ascending=False, kind="stable").index
    name = runs[0].name_of
    lines = [(int(r), name(int(labels[r])), name(int(common[r]))) for r in rows]
    of_class, hard_of_class = labels.value_counts(), labels[hard].value_counts()
    return HardGalaxies(
        number=int(hard.sum()),
        total=len(verdicts),
        num_runs=len(runs),
        by_class=[(name(int(c)), int(hard_of_class.get(c, 0)), int(of_class[c])) for c in sorted(of_class.index)],
        verdicts=lines,
        cards=_portraits(runs, subset, lines),
    )


def _portraits(runs: Sequence[RunRecord], subset: str, lines: list[tuple[int, str, str]]) -> list[Card]:
    """Pictures of hard galaxies, as far as the runs kept them among their own mistakes."""
    pictures: dict[int, np.ndarray] = {}
    for run in runs:
        sample = run.samples.get(f"misclassified_{subset}")
        if sample is not None:
            pictures = {int(row): image for row, image in zip(sample["rows"], sample["images"], strict=True)} | pictures
    shown = [line for line in lines if line[0] in pictures][:MOST_SHOWN]
    found = [
        card for row, true, guess in shown for card in cards(pictures[row][None], [(true, f"→ {guess}", f"row {row}")])
    ]
    return found


def pairwise_tests(experiments: Sequence[Experiment], subset: str) -> list[PairwiseTest]:
    """McNemar's test for every pair of experiments, or of each with the best one where there are many.

    Experiments come best first. Two of them are compared in the first seed they share, else in the first of each.
    """
    judged = [e for e in experiments if subset in e.runs[0].predictions]
    pairs = list(combinations(judged, 2)) if len(judged) <= MOST_PAIRS_OF else [(judged[0], e) for e in judged[1:]]
    chosen = [_same_seed(first, second, subset) for first, second in pairs]
    tests = [mcnemar(*_right(one, other, subset)) for one, other in chosen]
    corrected = holm([test.p for test in tests])
    return [
        PairwiseTest(first.name, second.name, (seed_of(one), seed_of(other)), test, p)
        for (first, second), (one, other), test, p in zip(pairs, chosen, tests, corrected, strict=True)
    ]


def _same_seed(first: Experiment, second: Experiment, subset: str) -> tuple[RunRecord, RunRecord]:
    for one in first.runs:
        for other in second.runs:
            if seed_of(one) == seed_of(other) and subset in one.predictions and subset in other.predictions:
                return one, other
    return first.runs[0], second.runs[0]


def _right(one: RunRecord, other: RunRecord, subset: str) -> tuple[np.ndarray, np.ndarray]:
    both = one.predictions[subset].merge(other.predictions[subset], on="row", suffixes=("_one", "_other"))
    right = [(both[f"label_{side}"] == both[f"predicted_{side}"]).to_numpy() for side in ("one", "other")]
    return right[0], right[1]
