"""Mixed images: pixel by pixel, their classes in the same shares, and the same draws after a restart."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.models.class_fractions import check_takes_fractions
from galaxy10.models.losses import CrossEntropy, FocalLoss, LogitAdjusted
from galaxy10.models.votes import DirichletMultinomial
from galaxy10.training.callbacks import CutMix, EpochTotals, MixUp

SIZE, CLASSES = 16, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 1])


def batch_of():
    """Six images, each of one value, so that a pixel says which image it is from."""
    values = torch.arange(len(LABELS), dtype=torch.float32)[:, None, None, None]
    inputs = values.expand(-1, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    return {"inputs": inputs, "labels": LABELS, "rows": torch.arange(len(LABELS))}


def mixed(*callbacks, epoch=0, step=0, rank=0):
    trainer = SimpleNamespace(callbacks=list(callbacks), current_epoch=epoch, global_rank=rank)
    batch = batch_of()
    for callback in callbacks:
        callback.on_train_batch_start(trainer, None, batch, step)
    return batch


@pytest.mark.parametrize("step", range(5))
def test_mixup_mixes_pixels_and_classes_in_the_same_shares(step):
    batch, before = mixed(MixUp(CLASSES, alpha=1.0), step=step), batch_of()
    own, one_hot = before["inputs"][:, 0, 0, 0], F.one_hot(LABELS, CLASSES).float()
    found = batch["inputs"][:, 0, 0, 0]
    start = next(
        k for k in range(1, 6) if torch.allclose(batch["labels"].sum(1), torch.ones(6)) and _fits(found, own, k)
    )
    share = float((found - own.roll(-start))[0] / (own - own.roll(-start))[0])
    assert 0 <= share <= 1
    assert torch.allclose(batch["inputs"], share * before["inputs"] + (1 - share) * before["inputs"].roll(-start, 0))
    assert torch.allclose(batch["labels"], share * one_hot + (1 - share) * one_hot.roll(-start, 0), atol=1e-6)
    assert batch["inputs"].is_contiguous(memory_format=torch.channels_last)


def _fits(found, own, start):
    """Whether one share explains every image, each mixed with the one `start` places later."""
    shares = (found - own.roll(-start)) / (own - own.roll(-start))
    return bool((shares - shares[0]).abs().max() < 1e-5)


def test_fractions_of_votes_are_mixed_where_there_are_votes():
    votes = torch.tensor([[3.0, 1.0, 0.0]]).repeat(len(LABELS), 1)
    trainer = SimpleNamespace(callbacks=[mixup := MixUp(CLASSES, alpha=1.0)], current_epoch=0, global_rank=0)
    batch = batch_of() | {"votes": votes}
    mixup.on_train_batch_start(trainer, None, batch, 0)
    assert torch.allclose(batch["labels"], votes / 4)  # all images have the same, so their mixture has, too
    with pytest.raises(Galaxy10Error, match="numbers of votes"):
        check_takes_fractions(DirichletMultinomial(), CLASSES)


@pytest.mark.parametrize("step", range(5))
def test_cutmix_pastes_one_rectangle_whose_area_is_the_share_of_its_class(step):
    batch = mixed(CutMix(CLASSES), step=step)
    pasted = batch["inputs"] != batch_of()["inputs"]
    assert torch.equal(pasted, pasted[:1, :1].expand_as(pasted))  # the same pixels in every image and channel
    rows, columns = pasted[0, 0].any(dim=1).nonzero(), pasted[0, 0].any(dim=0).nonzero()
    height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert height * width == pasted[0, 0].sum()
    inside, area = pasted[0, 0].nonzero()[0].tolist(), float(pasted[0, 0].float().mean())
    partners = batch["inputs"][:, 0, inside[0], inside[1]].long()
    one_hot = F.one_hot(LABELS, CLASSES).float()
    assert torch.allclose(batch["labels"], (1 - area) * one_hot + area * one_hot[partners], atol=1e-6)
    assert batch["inputs"].is_contiguous(memory_format=torch.channels_last)


def test_draws_depend_on_seed_epoch_step_and_process_alone():
    for kind in (MixUp, CutMix):
        first = mixed(kind(CLASSES), epoch=1, step=2)["inputs"]
        assert torch.equal(first, mixed(kind(CLASSES), epoch=1, step=2)["inputs"])
        for other in (
            mixed(kind(CLASSES, seed=1), epoch=1, step=2), mixed(kind(CLASSES), epoch=2, step=2),
            mixed(kind(CLASSES), epoch=1, step=3), mixed(kind(CLASSES), epoch=1, step=2, rank=1),
        ):  # fmt: skip
            assert not torch.equal(first, other["inputs"])


def test_of_both_each_batch_draws_one():
    kinds = {"mixup": 0, "cutmix": 0}
    for step in range(60):
        values = mixed(MixUp(CLASSES, alpha=1.0), CutMix(CLASSES), step=step)["inputs"]
        whole = bool((values == values.round()).all())  # pasted, not blended
        kinds["cutmix" if whole else "mixup"] += 1
        if not whole:
            assert torch.allclose(values, values[:, :1, :1, :1].expand_as(values))  # not pasted as well
    assert min(kinds.values()) > 15


def test_a_share_of_the_batches_and_single_images_stay_as_they_are():
    changed = [mixed(MixUp(CLASSES, probability=0.3), step=step)["labels"].ndim == 2 for step in range(200)]
    assert 30 < sum(changed) < 90
    single = {key: value[:1] for key, value in batch_of().items()}
    MixUp(CLASSES).apply(single, np.random.default_rng(0))
    assert torch.equal(single["labels"], LABELS[:1])


def test_another_batch_is_refused_in_one_line():
    trainer = SimpleNamespace(callbacks=[MixUp(CLASSES)], current_epoch=0, global_rank=0)
    with pytest.raises(TrainingError, match="this is a list; leave out callbacks=mixup"):
        trainer.callbacks[0].on_train_batch_start(trainer, None, [1, 2], 0)


LOSSES = {
    "cross-entropy": CrossEntropy(label_smoothing=0.1),
    "with weights": CrossEntropy(label_smoothing=0.1, class_weights=[1.0, 2.0, 5.0]),
    "focal": FocalLoss(),
    "focal with weights": FocalLoss(class_weights=[1.0, 2.0, 5.0]),
    "logit-adjusted": LogitAdjusted(class_counts=[50, 30, 5], label_smoothing=0.1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_fractions_is_that_of_class_numbers_and_linear_between_them(name):
    loss, logits = LOSSES[name], torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(0))
    one_hot, other = F.one_hot(LABELS, CLASSES).float(), LABELS.roll(1)
    assert float(loss(logits, one_hot)) == pytest.approx(float(loss(logits, LABELS)), rel=1e-5)
    fractions = 0.7 * one_hot + 0.3 * one_hot.roll(1, 0)
    by_parts = 0.7 * loss(logits, LABELS) + 0.3 * loss(logits, other)  # both have the same sum of weights
    assert float(loss(logits, fractions)) == pytest.approx(float(by_parts), rel=1e-5)
    check_takes_fractions(loss, CLASSES)


def test_a_loss_of_class_numbers_alone_is_refused_in_one_line(here, galaxies):
    def first_column(logits, labels):
        return -logits.log_softmax(1)[torch.arange(len(logits)), labels].mean()

    for loss, reason in (
        (first_column, "the loss first_column fails: "),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0])), "gives another value"),
    ):
        with pytest.raises(Galaxy10Error, match=reason):
            check_takes_fractions(loss, CLASSES)
    words = ("data=hdf5", f"data.path={galaxies}", "callbacks=[mixup,cutmix]")
    done = here("train.py", *words, "loss=cross_entropy", "~loss", "+loss._target_=torch.nn.MultiMarginLoss")
    assert done.code == 2, done.err
    assert "the loss MultiMarginLoss fails" in done.message
    assert "leave out callbacks=mixup and callbacks=cutmix" in done.message


@pytest.mark.parametrize("model", ["pca_logreg", "linear_probe"])
@pytest.mark.parametrize(("callback", "said"), [("ema", "no steps to average"), ("cutmix", "no batches to mix")])
def test_what_is_solved_at_once_is_neither_averaged_nor_mixed(here, galaxies, model, callback, said):
    words = ("augment=none", "optimizer=none", "scheduler=none", f"callbacks={callback}", "model.pretrained=false")
    done = here("train.py", "data=hdf5", f"data.path={galaxies}", f"model={model}", *words)
    assert done.code == 2
    assert done.message == f"error: model={model} is solved at once and has {said}; leave out callbacks={callback}"


def test_training_accuracy_counts_the_class_that_has_most():
    totals, module = EpochTotals(), SimpleNamespace(device=torch.device("cpu"))
    trainer = SimpleNamespace(
        accumulate_grad_batches=1, world_size=1, should_stop=False, is_last_batch=False, max_steps=-1, global_step=1
    )
    totals.on_train_epoch_start(trainer, module)
    fractions = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    totals.on_train_batch_end(trainer, module, {"loss": torch.tensor(1.0), "logits": logits}, {"labels": fractions}, 0)
    saved = {}
    totals.on_save_checkpoint(trainer, module, saved)
    assert saved["epoch_totals"] == [3.0, 2.0, 3.0, 3.0]


def test_a_batch_of_the_loader_is_not_changed_in_place():
    class Keep(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            kept.append(batch["labels"])

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * SIZE * SIZE, CLASSES)

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.layer(batch["inputs"].flatten(1)), batch["labels"])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    kept, batches = [], [batch_of()]
    L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[CutMix(CLASSES), Keep()],
    ).fit(Module(), torch.utils.data.DataLoader(batches, batch_size=None))  # fmt: skip
    assert [tuple(labels.shape) for labels in kept] == [(6, CLASSES), (6, CLASSES)]
    assert torch.equal(batches[0]["labels"], LABELS)
