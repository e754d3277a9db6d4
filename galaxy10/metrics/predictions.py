"""The prediction table: one schema for validation and test subsets, evaluations and catalogues."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs


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


def prediction_table(
    batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], class_names: Sequence[str]
) -> pd.DataFrame:
    """Return row, label, predicted, predicted_name, p_<slug>…: one row per image in file order.

    Args:
        batches: rows (B,), labels (B,) and probabilities (B, C) of each batch, at least one; a row that several
            processes evaluated is kept once.
    """
    rows, labels, probabilities = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    table = pd.DataFrame({"row": rows, "label": labels, **class_columns(probabilities, class_names)})
    return table.drop_duplicates("row").sort_values("row", ignore_index=True)
