"""Rank the experiments of one split: a table, Markdown and a page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from galaxy10.config.fields import iter_settings
from galaxy10.errors import Galaxy10Error
from galaxy10.reports.figures.comparison import ranking
from galaxy10.reports.finished_runs import device_of, read_finished, split_description
from galaxy10.reports.folds import pool_folds
from galaxy10.reports.html import NO_VALUE, Drawing, count, duration, render, write_figure, write_file
from galaxy10.reports.intervals import INTERVAL_METRICS, Interval, galaxy_intervals
from galaxy10.reports.label_curves import num_labels
from galaxy10.reports.pairwise import PairwiseTest, compare_pairs
from galaxy10.reports.seed_groups import MeanStd, SeedGroup, group_by_split
from galaxy10.runs.record import RunRecord

_LABELS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


@dataclass(frozen=True)
class Entry:
    """One line of a leaderboard.

    Attributes:
        spreads: metric → mean and deviation over the seeds.
        intervals: metric → 95 % interval over the test galaxies (bootstrap).
        against_next: McNemar's test against the next line; None for the last one, or without predictions.
    """

    rank: int
    experiment: SeedGroup
    spreads: dict[str, MeanStd | None]
    intervals: dict[str, Interval]
    against_next: PairwiseTest | None
    train_images: float | None
    parameters: float | None
    images_per_s: float | None
    seconds: float | None
    device: str | None


@dataclass(frozen=True)
class Leaderboard:
    """The ranked experiments of one split; left_out: folder and reason of those that are no finished runs."""

    split: str
    description: str
    by: str
    entries: list[Entry]
    left_out: list[tuple[str, str]]


def rank_runs(run_dirs: Sequence[Path], by: str = "accuracy") -> Leaderboard:
    """Rank runs by the mean of a metric of their test subset over the seeds.

    Args:
        run_dirs: directories of runs and of evaluations; the folds of one k-fold split are pooled.
        by: accuracy or macro_f1.

    Raises:
        Galaxy10Error: no run is finished and tested, the runs are of several splits or were tested on different
            galaxies, or a run's test subset was used to choose its network.
    """
    if by not in INTERVAL_METRICS:
        raise Galaxy10Error(f"--by {by} is not possible; type --by {' or --by '.join(INTERVAL_METRICS)}")
    finished, left_out = read_finished(run_dirs)
    tested = []
    for run in finished:
        if "test" in run.predictions:
            tested.append(run)
        else:
            left_out.append((run.name, "it has no test predictions; finish it with run.test=true"))
    if not tested:
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise Galaxy10Error(f"none of the {len(run_dirs)} folders given is a tested run{why}; give run directories")
    for run in tested:
        check_honest(run)
    pooled, notes = pool_folds(tested)
    by_split = group_by_split(pooled)
    _check_one_split(by_split, notes)
    ((split, experiments),) = by_split.items()
    _check_same_galaxies(experiments)
    ranked = sorted(experiments, key=lambda e: _rank(e.spread(f"test/{by}")))
    tests = compare_pairs(list(pairwise(ranked)), "test")
    entries = [_entry(rank, e, test) for rank, (e, test) in enumerate(zip(ranked, [*tests, None], strict=True), 1)]
    return Leaderboard(split, split_description(ranked, "test"), by, entries, left_out)


def check_honest(run: RunRecord) -> None:
    """Check that a run's test subset took no part in choosing its network.

    Raises:
        Galaxy10Error: a setting monitors a test metric, validation galaxies are test galaxies, or an evaluation is not
            of a test subset.
    """
    settings = dict(iter_settings(run.config))
    monitored = next((k for k, v in settings.items() if k.split(".")[-1] == "monitor" and _is_of_test(v)), None)
    best = RunRecord.section(run.status, "best").get("metric")
    if monitored or _is_of_test(best):
        what = f"{monitored}={settings[monitored]}" if monitored else f"its best epoch is that of {best}"
        raise Galaxy10Error(
            f"{run.path} was chosen by its test galaxies ({what}), so its test metrics are too optimistic; leave it "
            "out, or train it again with monitor=val/macro_f1"
        )
    leaks = [str(n) for n in run.provenance_section("split").get("notes") or [] if "trained or chosen on" in str(n)]
    if run.is_evaluation and leaks:
        raise Galaxy10Error(f"{run.path} is no test: {leaks[0]}; leave it out, or evaluate with --subset test")
    if "val" in run.predictions:
        shared = len(set(run.predictions["val"]["row"]) & set(run.predictions["test"]["row"]))
        if shared:
            raise Galaxy10Error(
                f"{run.path} was chosen by {shared:,} of its test galaxies, which are validation galaxies, too; leave "
                "it out, or train it again with separate subsets"
            )


def _is_of_test(metric: Any) -> bool:
    return isinstance(metric, str) and metric.replace("_", "/").startswith("test/")


def _check_one_split(by_split: dict[str, list[SeedGroup]], notes: list[str]) -> None:
    if len(by_split) == 1:
        return
    found = []
    for split, experiments in by_split.items():
        names = [run.name for experiment in experiments for run in experiment.runs]
        found.append(f"{split}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
    raise Galaxy10Error(
        f"these runs are of {len(by_split)} splits, so their numbers do not compare ({'; '.join([*found, *notes])}); "
        "give the runs of one split"
    )


def _check_same_galaxies(experiments: Sequence[SeedGroup]) -> None:
    runs = [run for experiment in experiments for run in experiment.runs]
    rows = set(runs[0].predictions["test"]["row"])
    for run in runs[1:]:
        if set(run.predictions["test"]["row"]) != rows:
            raise Galaxy10Error(
                f"{run.name} was tested on other galaxies ({len(run.predictions['test']):,}) than {runs[0].name} "
                f"({len(rows):,}); give runs that were tested on the same ones"
            )


def _entry(rank: int, experiment: SeedGroup, test: PairwiseTest | None) -> Entry:
    return Entry(
        rank=rank,
        experiment=experiment,
        spreads={name: experiment.spread(f"test/{name}") for name in INTERVAL_METRICS},
        intervals=galaxy_intervals(experiment, "test"),
        against_next=test,
        train_images=experiment.mean_of(num_labels),
        parameters=experiment.cost("parameters"),
        images_per_s=experiment.cost("images_per_s"),
        seconds=experiment.cost("seconds"),
        device=device_of(experiment.runs[0]),
    )


def _rank(found: MeanStd | None) -> float:
    return -found.mean if found else float("inf")


def _mean(found: MeanStd | None) -> float:
    return found.mean if found else float("nan")


def columns(board: Leaderboard) -> list[dict[str, Any]]:
    """Return the lines of leaderboard.csv, numbers at full precision, missing numbers None."""
    lines = []
    for entry in board.entries:
        line: dict[str, Any] = {"rank": entry.rank, "experiment": entry.experiment.name}
        line["seeds"] = " ".join(str(seed) for seed in entry.experiment.seeds)
        for name in INTERVAL_METRICS:
            found, interval = entry.spreads[name], entry.intervals.get(name, (None, None))
            line |= {name: found.mean if found else None, f"{name}_std": found.std if found else None}
            line |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
        test = entry.against_next
        line["p_against_next"] = test.p_holm if test else None
        for name in ("train_images", "parameters", "images_per_s", "seconds", "device"):
            line[name] = getattr(entry, name)
        line |= {"split": board.split, "runs": " ".join(run.name for run in entry.experiment.runs)}
        lines.append(line)
    return lines


def cells(entry: Entry) -> list[str]:
    """Return the cells of an entry under HEAD."""
    texts = [str(entry.rank), entry.experiment.name, str(len(entry.experiment.runs))]
    for name in INTERVAL_METRICS:
        found, interval = entry.spreads[name], entry.intervals.get(name)
        deviation = f" ± {found.std:.3f}" if found and found.std is not None else ""
        texts.append(f"{found.mean:.3f}{deviation}" if found else NO_VALUE)
        texts.append(f"{interval[0]:.3f}–{interval[1]:.3f}" if interval else NO_VALUE)
    test = entry.against_next
    texts.append(NO_VALUE if test is None else "<0.0001" if test.p_holm < 0.0001 else f"{test.p_holm:.4f}")
    costs = [count(value) for value in (entry.train_images, entry.parameters, entry.images_per_s)]
    return [*texts, *costs, duration(entry.seconds)]


HEAD = ("rank", "experiment", "seeds", "accuracy", "95\xa0% interval", "macro-F1", "95\xa0% interval",
        "p against next", "training images", "parameters", "images/s", "time")  # fmt: skip
NOTE = (
    "Mean ± standard deviation over seeds; 95 % intervals over the test galaxies (bootstrap of the mean over seeds); p "
    "of McNemar's test against the next line, one seed of each, corrected with Holm's method; training speed and time "
    "of a run."
)


def leaderboard_markdown(board: Leaderboard) -> str:
    """Return leaderboard.md."""
    lines = [f"{board.description} (split {board.split}), ranked by {_LABELS[board.by]}:", ""]
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(entry))} |" for entry in board.entries]
    return "\n".join([*lines, "", NOTE, ""])


def print_leaderboard(board: Leaderboard) -> None:
    """Print the ranking as a table on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 1000  # logs have no edge to wrap at
    table = Table(*HEAD, box=None, pad_edge=False)
    for entry in board.entries:
        table.add_row(*map(escape, cells(entry)))
    console.print(f"{board.description} (split {board.split})", markup=False, highlight=False)
    console.print(table)


def write_leaderboard(board: Leaderboard, out: Path) -> Path:
    """Write leaderboard.csv, leaderboard.md, the figure and index.html to a folder; return the path of index.html."""
    text = io.StringIO()
    pd.DataFrame(columns(board)).to_csv(text, index=False)
    write_file(out / "leaderboard.csv", text.getvalue().encode())
    write_file(out / "leaderboard.md", leaderboard_markdown(board).encode())
    names = [entry.experiment.name for entry in board.entries]
    found: dict[str, tuple[list[float], list[Interval | None]]] = {
        label: ([_mean(e.spreads[name]) for e in board.entries], [e.intervals.get(name) for e in board.entries])
        for name, label in _LABELS.items()
    }
    drawing = Drawing("ranking", "Test metrics", "Mean over the seeds, 95 % interval over the test galaxies.",
                      ranking(names, found))  # fmt: skip
    figure = write_figure(drawing, out / "figures")
    page = render("leaderboard.html.j2", board=board, head=HEAD, lines=list(map(cells, board.entries)), note=NOTE,
                  label=_LABELS[board.by], figure_=figure)  # fmt: skip
    return write_file(out / "index.html", page.encode())
