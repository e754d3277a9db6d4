"""Galaxies on a run's page: its mistakes, a batch, and what augmentation and noise do to one of them."""

from galaxy10.reports.html import Card, cards
from galaxy10.reports.run_figures import MOST_IN_GALLERY, demonstration_texts
from galaxy10.runs.record import SUBSETS, RunRecord


def mistakes(run: RunRecord) -> list[tuple[str, int, list[Card]]]:
    """For each subset with mistakes: its name, how many pictures were kept, and the first of them."""
    galleries = []
    for subset in SUBSETS:
        sample = run.samples.get(f"misclassified_{subset}")
        if sample is None or not len(sample["images"]):
            continue
        names = run.names_of(sample["labels"]), run.names_of(sample["predicted"])
        texts = [
            (true, f"→ {guess}", f"{sure:.0%}, row {row}")
            for true, guess, sure, row in zip(*names, sample["confidence"], sample["rows"], strict=True)
        ]
        galleries.append((subset, len(texts), cards(sample["images"][:MOST_IN_GALLERY], texts[:MOST_IN_GALLERY])))
    return galleries


def batch(run: RunRecord) -> list[Card]:
    """Training images as the network sees them, with their labels."""
    sample = run.samples.get("batch")
    if sample is None:
        return []
    texts = [(name,) for name in run.names_of(sample["labels"])]
    return cards(sample["images"][:MOST_IN_GALLERY], texts[:MOST_IN_GALLERY])


def demonstrations(run: RunRecord) -> dict[str, list[Card]]:
    """Cards by demonstration, for those that the run wrote."""
    return {name: cards(run.samples[name]["images"], texts) for name, texts in demonstration_texts(run).items()}
