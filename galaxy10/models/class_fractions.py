"""Check that a loss takes class fractions (B, C), as of votes and mixed images, in place of class numbers (B,)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from galaxy10.errors import Galaxy10Error, first_line


def check_takes_votes(loss: Callable[[torch.Tensor, torch.Tensor], Any], num_classes: int) -> None:
    """Check that a loss can be trained on votes: on their numbers, or on their fractions.

    Raises:
        Galaxy10Error: it takes neither.
    """
    if not getattr(loss, "takes_counts", False):
        check_takes_fractions(loss, num_classes, what="votes", instead="data.soft_labels=false")


def check_takes_fractions(
    loss: Callable[[torch.Tensor, torch.Tensor], Any],
    num_classes: int,
    device: torch.device | str = "cpu",
    what: str = "mixed images",
    instead: str = "leave out callbacks=mixup and callbacks=cutmix",
) -> None:
    """Check that a loss of logits (B, C) gives for fractions of 0 and 1 what it gives for the class numbers.

    A loss that fails for class numbers, too, is not checked here.

    Args:
        what: has class fractions, for the message.
        instead: what to do beside another loss.

    Raises:
        Galaxy10Error: it fails, gives another value, or needs numbers of votes.
    """
    if getattr(loss, "takes_counts", False):
        raise Galaxy10Error(
            f"the loss {type(loss).__name__} is one of numbers of votes, which {what} do not have; type "
            f"loss=cross_entropy, or {instead}"
        )
    labels = torch.tensor([0, num_classes - 1, 0], device=device)  # unequal weights of classes would show
    logits = torch.linspace(-2.0, 1.0, 3 * num_classes, device=device).view(3, num_classes)
    fractions = F.one_hot(labels, num_classes).float()
    with torch.no_grad():
        try:
            expected = torch.as_tensor(loss(logits, labels))
        except Exception:  # a user's loss may raise anything
            return
        try:
            found = torch.as_tensor(loss(logits, fractions))
            reason = "gives another value for them than for class numbers"
            takes = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4)
        except Exception as error:
            takes, reason = False, f"fails: {type(error).__name__}: {first_line(error)}"
    if not takes:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise Galaxy10Error(
            f"{what} have class fractions (B, {num_classes}) as labels, for which the loss {name} {reason}; type "
            f"loss=cross_entropy, or {instead}"
        )
