"""The table of predictions: one line per image."""

from collections.abc import Sequence

import pandas as pd
import torch

from galaxy10.classes import slugs


def prediction_table(
    scored: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], class_names: Sequence[str]
) -> pd.DataFrame:
    """Return row, label, predicted, p_<slug>…: one line per image in file order.

    scored: batches of rows (B,), labels (B,) and probabilities (B, C); a row that several processes had counts once.
    """
    rows, labels, probabilities = (torch.cat(parts) for parts in zip(*scored, strict=True))
    table = pd.DataFrame({"row": rows.numpy(), "label": labels.numpy(), "predicted": probabilities.argmax(1).numpy()})
    for column, slug in zip(probabilities.T.numpy(), slugs(class_names), strict=True):
        table[f"p_{slug}"] = column
    return table.drop_duplicates("row").sort_values("row", ignore_index=True)
