"""The prediction table: one schema for validation and test subsets, evaluations and catalogues."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs
from galaxy10.data.votes import fractions


def class_columns(probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the prediction columns of N images.

    Args:
        probabilities: (N, C), in the order of the class names.

    Returns:
        `predicted`, the number of the most probable class (int64); `predicted_name`, its name (str); and its
        probability `p_<slug>` (float32) for every class.
    """
    predicted = probabilities.argmax(axis=1)
    names = np.array(class_names, dtype=str)
    columns = {"predicted": predicted, "predicted_name": names[predicted]}
    shares = probabilities.astype(np.float32)
    return columns | {f"p_{slug}": shares[:, k] for k, slug in enumerate(slugs(class_names))}


def vote_columns(votes: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of people's votes (N, C): vote_<slug>, the fraction (float32) for every class."""
    shares = fractions(votes.astype(np.float64)).astype(np.float32)
    return {f"vote_{slug}": shares[:, k] for k, slug in enumerate(slugs(class_names))}


def prediction_table(batches: Sequence[tuple[torch.Tensor, ...]], class_names: Sequence[str]) -> pd.DataFrame:
    """Return row, label, predicted, predicted_name, p_<slug>…, vote_<slug>…: one row per image in file order.

    Args:
        batches: rows (B,), labels (B,), probabilities (B, C) and, if the data have them, votes (B, C) of each batch, at
            least one; a row that several processes evaluated is kept once.
    """
    rows, labels, probabilities, *votes = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    columns = {"row": rows, "label": labels, **class_columns(probabilities, class_names)}
    table = pd.DataFrame(columns | (vote_columns(votes[0], class_names) if votes else {}))
    return table.drop_duplicates("row").sort_values("row", ignore_index=True)
