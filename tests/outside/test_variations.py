"""A user's own modules among the variations of training images: the same after a restart, in training only."""

import random
import sys

import lightning as L
import numpy as np
import pytest
import torch

from galaxy10.data import Augmentation, GalaxyData, PerImage, Preprocessing
from galaxy10.data.image_geometry import to_nchw
from galaxy10.errors import Galaxy10Error

V2 = "torchvision.transforms.v2"
ERASING = {"_target_": f"{V2}.RandomErasing", "p": 0.7}
BLUR = {"_target_": f"{V2}.GaussianBlur", "kernel_size": 5, "sigma": [0.1, 3.0]}
JITTER = {"_target_": "outsider.data.Jitter"}
INVERT = {"_target_": "outsider.data.Invert"}


class Dropping(L.LightningModule):
    """Draws from the global generator in every step, as dropout does; keeps its draws and its batches."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.draws, self.validated = [], [], []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch))
        self.draws.append((torch.rand(2), np.random.rand(), random.random()))  # noqa: NPY002
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch["inputs"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(galaxies, before=(), after=(), module=None, checkpoint=None, cache=False, **trainer):
    data = GalaxyData(
        path=galaxies, batch_size=8, seed=5, cache_on_device=cache,
        augmentation={"dihedral": "all", "rotation_deg": 20.0, "before": [*before], "after": [*after]},
        preprocessing=Preprocessing(24, (0.1, 0.2, 0.3), (0.2, 0.2, 0.2)),
    )  # fmt: skip
    module = module or Dropping()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    trainer = L.Trainer(
        **{"max_epochs": 2, **trainer}, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return module


class SaveAfterTwo(L.Callback):
    """Leaves a checkpoint in the middle of the first epoch."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)


def alike(one, other):
    return len(one.seen) == len(other.seen) and all(
        torch.equal(a["inputs"], b["inputs"]) for (_, a), (_, b) in zip(one.seen, other.seen, strict=True)
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "where", [{"after": [ERASING, JITTER]}, {"before": [INVERT, BLUR]}, {"before": [BLUR], "after": [ERASING]}]
)
def test_draws_are_a_function_of_seed_epoch_and_batch_and_nobody_elses_change(where, galaxies):
    one, again = (fitted(galaxies, **where) for _ in range(2))
    assert alike(one, again)
    assert alike(one, fitted(galaxies, **where, cache=True))
    plain = fitted(galaxies)
    assert not alike(one, plain)
    assert torch.equal(torch.cat(one.validated), torch.cat(plain.validated))
    for ours, theirs in zip(one.draws, plain.draws, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", [{"after": [ERASING, JITTER]}, {"before": [INVERT, BLUR]}])
def test_a_restart_within_an_epoch_repeats_them(where, galaxies, tmp_path):
    whole = fitted(galaxies, **where, callbacks=[SaveAfterTwo(tmp_path / "last.ckpt")])
    rest = fitted(galaxies, **where, checkpoint=tmp_path / "last.ckpt")
    assert 0 < len(rest.seen) == len(whole.seen) - 2
    whole.seen = whole.seen[2:]
    assert alike(rest, whole)


def prepared(data, epoch=0):
    batch = next(iter(data.train_dataloader()))
    return data.augmented(batch, epoch), batch


def set_up(galaxies, **augmentation):
    data = GalaxyData(path=galaxies, batch_size=8, augmentation=augmentation, balance="none")
    data.setup()
    return data


def test_another_epoch_or_seed_draws_anew(galaxies):
    data = set_up(galaxies, after=[JITTER])
    first, batch = prepared(data)
    assert torch.equal(first, data.augmented(batch, 0))
    for other in (data.augmented(batch, 1), data.augmented({**batch, "first": (35, 0)}, 0)):
        assert (first - other).abs().min() > 0
    reseeded = GalaxyData(path=galaxies, batch_size=8, augmentation={"after": [JITTER]}, seed=1)
    reseeded.setup()
    assert (first - reseeded.augmented(batch, 0)).abs().min() > 0


def test_before_sees_whole_images_from_0_to_1_and_after_the_input(galaxies):
    seen = {}

    def keep(name):
        def look(images):
            seen[name] = images
            return images

        return look

    data = set_up(galaxies, before=[keep("before")], after=[keep("after")])
    inputs, batch = prepared(data)
    assert torch.equal(seen["before"], to_nchw(batch["images"]).float() / 255)
    assert torch.equal(seen["after"], inputs)
    assert (inputs - prepared(set_up(galaxies))[0]).abs().max() < 1e-4  # a module that changes nothing
    halved = set_up(galaxies, before=[lambda images: images[:, :, 8:24, 8:24]])
    assert prepared(halved)[0].shape == (8, 3, 32, 32)


def test_per_image_draws_for_each(galaxies):
    erase = {"_target_": f"{V2}.RandomErasing", "p": 1.0, "value": 9.0}
    together = prepared(set_up(galaxies, after=[erase]))[0] == 9
    assert all(torch.equal(together[0], image) for image in together)  # torchvision's way with a batch
    apart = prepared(set_up(galaxies, after=[{"_target_": "galaxy10.data.PerImage", "module": erase}]))[0] == 9
    assert len({tuple(image.flatten().tolist()) for image in apart}) == 8
    assert PerImage(lambda image: image + 1)(torch.zeros(2, 3, 4, 4)).sum() == 96


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"after": [{"_target_": "outsider.data.Jiter"}]}, r"_target_=outsider\.data\.Jiter: .*did you mean Jitter\?"),
        ({"after": [{"_target_": "nowhere.Blur"}]}, r"there is no module nowhere; .*PYTHONPATH"),
        (
            {"before": [{"_target_": "outsider.data.Jitter", "strong": 1}]},
            r"Jitter takes no strong: did you mean strength\?",
        ),
        ({"after": [lambda x: x[:, :1]]}, r"returns \(8, 1, 32, 32\) torch.float32; expected \(8, 3, 32, 32\) float32"),
        ({"after": [lambda x: None]}, r"augment\.after\[0\] \(<lambda>\) returns NoneType"),
        ({"before": [lambda x: x.to(torch.uint8)]}, r"torch\.uint8; expected \(8, 3, H, W\) float32"),
        ({"after": [lambda x: 1 / 0]}, r"\(<lambda>\) fails on a batch \(8, 3, 32, 32\): ZeroDivisionError"),
        ({"after": [torch.nn.ReLU]}, r"expected a module \(an instance\) or a function"),
    ],
)
def test_what_is_no_augmentation_module_is_refused_by_its_key(where, said, galaxies):
    with pytest.raises(Galaxy10Error, match=said):
        prepared(set_up(galaxies, **where))


def test_a_recipe_of_ones_own_is_an_augmentation_like_any(galaxies):
    assert Augmentation.from_config({"after": [ERASING]}).after == (ERASING,)
    assert Augmentation() == Augmentation.from_config({"before": [], "after": []})
    assert "outsider" not in sys.modules or sys.modules["outsider"].__file__.endswith("outside/outsider/__init__.py")
