"""Compare the D4-equivariant networks with ordinary twins of equal width: images/s of training, evaluation, prediction.

A ratio above 1 means that the D4 network is faster. Both networks of a pair take turns in one process, so that other
work on the machine slows both alike.
"""

import time
from collections.abc import Callable

import torch
from side_by_side import Row, arguments, keep
from torch import nn

from galaxy10.data.dihedral import tta_views
from galaxy10.models import D4CNN, D4ResNet, PlainCNN, PlainResNet
from galaxy10.models.precision import cpu_has_bf16

PAIRS = ((D4CNN, PlainCNN), (D4ResNet, PlainResNet))


def main() -> None:
    """Measure every pair and size."""
    given = arguments(__doc__, repeats=5, batch=64, image_px=128, base_only=0)
    precisions = [torch.float32, *([torch.bfloat16] if cpu_has_bf16() else [])]
    rows = []
    for pair in PAIRS:
        for size in ("base",) if given.base_only else ("base", "small", "tiny"):
            for precision in precisions:
                rows += measure(pair, size, precision, given.batch, given.image_px, given.repeats)
    keep("equivariance", rows, given)


def measure(
    pair: tuple[type[nn.Module], type[nn.Module]], size: str, precision: torch.dtype, batch: int, px: int, repeats: int
) -> list[Row]:
    """Return the rows of one pair: training, evaluation, and prediction with eight views of the twin."""
    torch.manual_seed(0)
    networks = [build(10, px, size).to(memory_format=torch.channels_last) for build in pair]
    optimizers = [torch.optim.AdamW(net.parameters(), fused=True) for net in networks]
    images = torch.rand(batch, 3, px, px).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def step(number: int) -> None:
        networks[number].train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            outputs = networks[number](images)
        optimizers[number].zero_grad()
        nn.functional.cross_entropy(outputs.float(), labels).backward()
        optimizers[number].step()

    @torch.no_grad()
    def evaluate(number: int, views: int = 1) -> None:
        networks[number].eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            for view in tta_views(images, views):
                networks[number](view)

    name = f"{pair[0].__name__} ÷ {pair[1].__name__}, size={size}, {px} px, {str(precision).removeprefix('torch.')}"
    work: dict[str, tuple[Callable[[int], None], float | None]] = {
        "training": (step, 1 / 1.3 if size == "base" else None),
        "evaluation": (evaluate, 1 / 1.1 if size == "base" else None),
        "prediction of equal invariance (1 view ÷ 8)": (lambda number: evaluate(number, (1, 8)[number]), None),
    }
    return [take_turns(f"{name}: {what}", each, batch, repeats, target) for what, (each, target) in work.items()]


def take_turns(name: str, work: Callable[[int], None], batch: int, repeats: int, target: float | None) -> Row:
    """Return images/s of both networks, one after the other, `repeats` times after a first time."""
    row = Row(name, "images/s", [], [], target)
    for repeat in range(repeats + 1):
        for number, rates in enumerate((row.ours, row.theirs)):
            start = time.perf_counter()
            work(number)
            if repeat:
                rates.append(batch / (time.perf_counter() - start))
    print(row.line(), flush=True)
    return row


if __name__ == "__main__":
    main()
