"""Compare the input pipeline with torchvision's loaders, and each augmentation with the fastest network's speed."""

from itertools import islice
from typing import Any

import numpy as np
import torch
import yaml
from side_by_side import ROOT, Row, arguments, keep, seconds, side_by_side
from survey import survey_store
from torchvision_loaders import Galaxies, baseline_cnn, loader

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.loader import EpochSampler, GalaxyLoader

MEAN, STD = (0.167, 0.162, 0.159), (0.128, 0.118, 0.111)
BATCH = 32
FASTEST_NETWORK = "efficientnet_lite0"
AUGMENTATIONS = ("none", "dihedral", "baseline_cnn", "baseline_transfer", "affine")


def read_augmentation(name: str) -> Augmentation:
    """Return the augmentation of conf/augment/NAME.yaml."""
    settings = yaml.safe_load((ROOT / "conf" / "augment" / f"{name}.yaml").read_text())
    based_on = settings.pop("defaults", [])
    for base in based_on:
        settings = {**yaml.safe_load((ROOT / "conf" / "augment" / f"{base}.yaml").read_text()), **settings}
    return Augmentation.from_config(settings)


class OurPipeline:
    """The batches of a training, without the training."""

    def __init__(self, name: str, size_px: int, images: np.ndarray, labels: np.ndarray):
        self.preprocessing = Preprocessing(size_px, MEAN, STD, STD)
        self.augmentation = read_augmentation(name)
        sampler = EpochSampler(labels, BATCH, seed=0)
        self.loader = GalaxyLoader(images, np.arange(len(images)), labels, sampler, prepare=self.prepare)

    def prepare(self, batch: dict[str, Any], epoch: int) -> dict[str, Any]:
        """Prepare a batch as in training on CPUs: in the prefetching thread, on one core."""
        where = (batch["rows"], batch["repeat_index"], batch["dihedral"])
        return {"inputs": self.preprocessing.train_transform(batch["images"], self.augmentation, 0, epoch, *where)}

    def rate(self, num_batches: int) -> float:
        """Return images per second."""
        return num_batches * BATCH / seconds(lambda: list(map(len, islice(self.loader, num_batches))))


def network_rate(size_px: int, num_batches: int) -> float:
    """Return images per second of the fastest transfer network, trained on one batch repeatedly, precision=auto."""
    import timm

    from galaxy10.models.precision import choose_precision
    from galaxy10.models.timm_registry import backbone_of

    backbone = backbone_of(FASTEST_NETWORK)
    network = timm.create_model(backbone, num_classes=10).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, fused=True)
    inputs = torch.randn(BATCH, 3, size_px, size_px).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10
    bf16 = choose_precision("auto", "cpu", backbone, size_px).name == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(network(inputs).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    return num_batches * BATCH / seconds(lambda: [step() for _ in range(num_batches)])


def main() -> None:
    given = arguments(__doc__, repeats=5, batches=60, augment_batches=20, network_batches=2)
    images = np.array(survey_store().images)  # in memory, as for the alternatives
    labels = np.arange(len(images)) % 10
    rows: list[Row] = []
    for version in ("v1", "v2"):
        theirs = loader(Galaxies(images, labels, baseline_cnn(version, 84, MEAN, STD), pil=version == "v1"))
        ours = OurPipeline("baseline_cnn", 84, images, labels)

        def their_rate(theirs=theirs) -> float:
            batches = iter(theirs)  # the workers run already
            next(batches)
            return given.batches * BATCH / seconds(lambda: list(map(len, islice(batches, given.batches))))

        ours.rate(3), their_rate()
        name = f"baseline_cnn at 84 px ÷ torchvision {version} with a worker per core"
        rows.append(
            side_by_side(
                name, lambda ours=ours: ours.rate(given.batches), their_rate, repeats=given.repeats, target=1.0
            )
        )
        del theirs
    for size_px in (224, 128):
        for name in AUGMENTATIONS:
            ours = OurPipeline(name, size_px, images, labels)
            ours.rate(1)
            rows.append(
                side_by_side(
                    f"augment={name} at {size_px} px ÷ {FASTEST_NETWORK}",
                    lambda ours=ours: ours.rate(given.augment_batches),
                    lambda size_px=size_px: network_rate(size_px, given.network_batches),
                    repeats=max(1, given.repeats // 2),
                    target=10,
                )
            )
    keep("input_pipeline", rows, given)


if __name__ == "__main__":
    main()
