"""Images on a run's page: misclassified galaxies, a batch, and demonstrations of augmentation and noise."""

from galaxy10.reports.html import Card, cards
from galaxy10.reports.run_figures import MOST_IN_GALLERY, demonstration_texts
from galaxy10.runs.record import SUBSETS, RunRecord


def misclassified(run: RunRecord) -> list[tuple[str, int, list[Card]]]:
    """Return, for each subset with misclassified images: its name, the number of images kept, and the first cards."""
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
    """Return training images as the network sees them, with their labels; empty if the run has no batch."""
    sample = run.samples.get("batch")
    if sample is None:
        return []
    texts = [(name,) for name in run.names_of(sample["labels"])]
    return cards(sample["images"][:MOST_IN_GALLERY], texts[:MOST_IN_GALLERY])


def demonstrations(run: RunRecord) -> dict[str, list[Card]]:
    """Return the cards of each demonstration that the run has written."""
    return {name: cards(run.samples[name]["images"], texts) for name, texts in demonstration_texts(run).items()}
