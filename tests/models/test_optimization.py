"""What training turns: learning rates, groups of parameters, frozen layers, losses."""

import functools
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from galaxy10.errors import Galaxy10Error
from galaxy10.models import Classifier
from galaxy10.models.losses import CrossEntropy, FocalLoss, LogitAdjusted, class_factor
from galaxy10.models.param_groups import layer_decay, no_decay_on_norms
from galaxy10.models.schedule import build_schedule
from galaxy10.training.schedulers import cosine, onecycle

LR, STEPS, PER_EPOCH = 0.1, 40, 10


class Net(nn.Module):
    """A convolution, a normalisation with statistics, and a head."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, inputs):
        return self.head(self.norm(self.convolution(inputs)).mean((2, 3)))


# --- learning rates -------------------------------------------------------------------------------------------------


def rates(scheduler, optimizer=torch.optim.SGD, interval="epoch", calls=STEPS, mode="max"):
    """The rate before each call of a scheduler, and its entry for Lightning."""
    optimizer = optimizer([nn.Parameter(torch.zeros(1))], lr=LR)
    entry = build_schedule(scheduler, optimizer, STEPS, PER_EPOCH, interval, "val/macro_f1", mode)
    found = []
    for _ in range(calls):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    return found, entry


def test_onecycle_begins_low_peaks_at_the_rate_and_ends_at_nearly_nothing():
    found, entry = rates(functools.partial(onecycle, pct_start=0.25, div_factor=10.0))
    assert entry["interval"] == "step"
    assert found[0] == pytest.approx(LR / 10)
    peak = found.index(max(found))
    assert found[peak] == pytest.approx(LR, rel=2e-3)
    assert peak == pytest.approx(0.25 * STEPS, abs=1)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[-1] < LR / 100


@pytest.mark.parametrize("optimizer", [torch.optim.Rprop, torch.optim.Adafactor, torch.optim.Adagrad])
def test_onecycle_takes_an_optimizer_without_momentum(optimizer):
    found, _ = rates(onecycle, optimizer, calls=2)
    assert found[0] == pytest.approx(LR / 10)


def test_onecycle_of_a_single_step():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    onecycle(optimizer, 1)
    assert 0 < optimizer.param_groups[0]["lr"] <= LR


@pytest.mark.parametrize("share", [0.01, 0.0])
def test_cosine_warms_up_for_its_epochs_and_ends_at_its_share(share):
    found, entry = rates(functools.partial(cosine, warmup_epochs=1.0, min_lr_ratio=share), calls=STEPS + 1)
    assert entry["interval"] == "step"
    warm = [LR * (step + 1) / (PER_EPOCH + 1) for step in range(PER_EPOCH)]
    assert found[:PER_EPOCH] == pytest.approx(warm)
    assert found[PER_EPOCH] == pytest.approx(LR)
    middle = (PER_EPOCH + STEPS) // 2
    assert found[middle] == pytest.approx(LR * (share + (1 - share) / 2))
    assert found[-1] == pytest.approx(LR * share)


def test_step_falls_after_its_epochs():
    step = functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.1)
    found, entry = rates(step, calls=4)
    assert (found, entry["interval"]) == (pytest.approx([LR, LR, LR / 10, LR / 10]), "epoch")
    assert rates(step, interval="step", calls=3)[1]["interval"] == "step"


@pytest.mark.parametrize(("interval", "length"), [("epoch", STEPS // PER_EPOCH), ("step", STEPS)])
def test_a_scheduler_of_torchs_gets_the_runs_length_in_its_own_unit(interval, length):
    found, _ = rates(lr_scheduler.CosineAnnealingLR, interval=interval, calls=length + 1)
    assert found[0] == LR
    assert found[-1] == pytest.approx(0, abs=1e-9)
    assert found[length // 2] == pytest.approx(LR / 2)
    cycle = functools.partial(lr_scheduler.OneCycleLR, max_lr=1.0)
    _, entry = rates(cycle, interval=interval, calls=1)
    assert entry["scheduler"].total_steps == length
    assert rates(functools.partial(cycle, total_steps=7), calls=1)[1]["scheduler"].total_steps == 7


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_is_one_of_the_monitored_metric_in_its_direction_once_an_epoch(mode):
    plateau = functools.partial(lr_scheduler.ReduceLROnPlateau, patience=0)
    _, entry = rates(plateau, interval="step", calls=0, mode=mode)
    assert (entry["monitor"], entry["interval"], entry["scheduler"].mode) == ("val/macro_f1", "epoch", mode)
    assert rates(functools.partial(plateau, mode="min"), calls=0)[1]["scheduler"].mode == "min"


def test_a_scheduler_that_lacks_something_says_so_in_one_line():
    with pytest.raises(Galaxy10Error, match=r"scheduler: LambdaLR cannot be built: .*lr_lambda"):
        rates(lr_scheduler.LambdaLR)


# --- parameter groups and optimizer ---------------------------------------------------------------------------------


def test_weight_decay_spares_vectors_and_what_the_network_names():
    class Named(Net):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.zeros(2, 2))

        def no_weight_decay(self):
            return {"position"}

    module = Classifier(Named(), num_classes=3)
    decayed, spared = no_decay_on_norms(module)
    names = {id(parameter): name.removeprefix("network.") for name, parameter in module.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"convolution.weight", "head.weight"}
    assert {names[id(p)] for p in spared["params"]} == {
        "convolution.bias", "norm.weight", "norm.bias", "head.bias", "position",
    }  # fmt: skip
    assert spared["weight_decay"] == 0
    assert "weight_decay" not in decayed


class Layered(Net):
    """A network with three layers in timm's sense."""

    def group_matcher(self, coarse=False):
        return {"stem": r"^convolution", "norm": r"^norm", "head": r"^head"}


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_layer_decay_falls_from_the_head_to_the_stem_of_a_network_of_timm(backbone):
    timm = pytest.importorskip("timm")
    network = timm.create_model(backbone, num_classes=3)
    module = Classifier(network, num_classes=3, loss=nn.PReLU(), param_groups=functools.partial(layer_decay, decay=0.5))
    frozen = next(network.parameters())
    frozen.requires_grad_(False)
    groups = layer_decay(module, decay=0.5)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in module.parameters() if p is not frozen)  # each in exactly one group
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    by_name = {name: scale.get(id(p)) for name, p in network.named_parameters()}
    assert {by_name[name] for name, _ in network.named_parameters() if name.startswith(("head.", "fc."))} == {1.0}
    assert scale[id(module.criterion.weight)] == 1.0  # what is no part of the network trains at the full rate
    falling = list(dict.fromkeys(x for x in by_name.values() if x is not None))  # in the order of the network
    assert falling == sorted(falling)
    assert len(falling) >= 4
    assert falling[0] == 0.5 ** (len(falling) - 1)
    named = getattr(network, "no_weight_decay", set)()
    spared = {id(p) for name, p in network.named_parameters() if p.ndim <= 1 or name in named}
    for group in groups[:-1]:
        assert {id(p) in spared for p in group["params"]} == {group.get("weight_decay") == 0}


def test_schedulers_keep_the_ratios_of_layer_decay():
    build = functools.partial(torch.optim.AdamW, lr=LR, weight_decay=0.3)
    optimizer = configured(build, network=Layered(), param_groups=functools.partial(layer_decay, decay=0.5))
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert sorted(set(rate.values())) == pytest.approx([LR / 4, LR / 2, LR])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.3}
    for scheduler in (onecycle, cosine, functools.partial(lr_scheduler.StepLR, step_size=1)):
        optimizer = configured(build, network=Layered(), param_groups=functools.partial(layer_decay, decay=0.5))
        entry = build_schedule(scheduler, optimizer, STEPS, PER_EPOCH, "epoch", "val/macro_f1", "max")
        for _ in range(3):
            optimizer.step()
            entry["scheduler"].step()
            largest = max(group["lr"] for group in optimizer.param_groups)
            ratios = {round(group["lr"] / largest, 6) for group in optimizer.param_groups}
            assert ratios == {1.0, 0.5, 0.25}
    with pytest.raises(Galaxy10Error, match="layer_decay: Net has no layers in timm's sense"):
        configured(param_groups=layer_decay)


def configured(optimizer=None, precision="32-true", clip=1.0, network=None, **options):
    module = Classifier(network or Net(), num_classes=3, optimizer=optimizer, **options)
    module._trainer = SimpleNamespace(precision=precision, gradient_clip_val=clip)
    return module.configure_optimizers()


def test_one_group_without_any_choice_and_only_of_what_trains():
    groups = configured(freeze="backbone").param_groups
    assert [tuple(p.shape) for p in groups[0]["params"]] == [(3, 4), (3,)]
    assert len(groups) == 1
    assert len(configured(param_groups=no_decay_on_norms).param_groups) == 2


def test_fused_is_passed_to_what_takes_it_unless_scaled_gradients_are_clipped():
    assert configured().defaults["fused"] is True
    assert not configured(precision="16-mixed").defaults["fused"]
    assert configured(precision="16-mixed", clip=None).defaults["fused"] is True
    assert configured(functools.partial(torch.optim.SGD, lr=0.1, fused=False)).defaults["fused"] is False
    assert "fused" not in configured(torch.optim.RAdam).defaults


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (torch.optim.Muon, "Muon cannot be built: Muon only supports 2D parameters"),
        (functools.partial(torch.optim.SGD, lr=-1.0), "SGD cannot be built: Invalid learning rate"),
        (functools.partial(torch.optim.SGD, speed=1), "SGD cannot be built: .*speed"),
    ],
)
def test_an_optimizer_that_cannot_be_made_says_so_in_one_line(optimizer, said):
    with pytest.raises(Galaxy10Error, match=said):
        configured(optimizer)


# --- freezing -------------------------------------------------------------------------------------------------------


def test_a_frozen_backbone_keeps_weights_and_statistics_and_only_the_head_learns():
    module = Classifier(Net(), num_classes=3, freeze="backbone")
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert trained == {"network.head.weight", "network.head.bias"}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    assert module.network.head.training
    assert not module.network.norm.training
    loss, _ = module.loss(torch.randn(8, 3, 8, 8), torch.arange(8) % 3)
    loss.backward()
    torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1).step()
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trained


def test_without_freezing_statistics_follow_the_images():
    module = Classifier(Net(), num_classes=3).train()
    before = module.network.norm.running_mean.clone()
    module(torch.randn(8, 3, 8, 8))
    assert not torch.equal(module.network.norm.running_mean, before)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_freezing_a_network_without_a_head_is_refused():
    with pytest.raises(Galaxy10Error, match=r"freeze=backbone: Flatten has no linear layer with one output per class"):
        Classifier(nn.Flatten(), num_classes=3, freeze="backbone")


# --- losses ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, generator=generator), torch.arange(16) % 3


def test_balanced_weights_make_every_class_count_the_same(batch):
    weight = CrossEntropy(class_weights="balanced", class_counts=[10, 30, 0]).weight
    assert weight.tolist() == pytest.approx([2.0, 40 / 60, 0.0])
    assert (weight * torch.tensor([10, 30, 0])).sum() == pytest.approx(40)  # one on average over the images
    loss = CrossEntropy(class_weights=[1, 2, 3])
    assert loss(*batch) == pytest.approx(float(F.cross_entropy(*batch, weight=torch.tensor([1.0, 2.0, 3.0]))))
    assert loss.state_dict() == {}  # no part of a checkpoint


def test_effective_weights_hardly_grow_with_many_images():
    """β = .999: effective numbers 10, 95 and 632 of 10, 100 and 1000 images."""
    weight = CrossEntropy(class_weights="effective", class_counts=[10, 100, 1000, 0]).weight.double()
    numbers = torch.tensor([(1 - 0.999**n) / 0.001 for n in (10, 100, 1000)])
    assert numbers.tolist() == pytest.approx([9.96, 95.2, 632.3], rel=1e-3)
    assert (weight[:3] / weight[0]).tolist() == pytest.approx((numbers[0] / numbers).tolist(), rel=1e-5)
    assert weight[3] == 0
    assert float((weight * torch.tensor([10.0, 100.0, 1000.0, 0.0])).sum()) == pytest.approx(1110)


def test_logit_adjustment_adds_the_log_shares_in_the_loss_alone(batch):
    logits, labels = batch
    loss = LogitAdjusted(tau=1.5, class_counts=[60, 30, 10])
    shares = torch.tensor([0.6, 0.3, 0.1])
    expected = F.cross_entropy(logits + 1.5 * shares.log(), labels)
    assert float(loss(logits, labels)) == pytest.approx(float(expected), rel=1e-6)
    assert loss.state_dict() == {}
    assert float(LogitAdjusted(tau=0, class_counts=[60, 30, 10])(*batch)) == pytest.approx(
        float(CrossEntropy()(*batch))
    )
    assert torch.isfinite(LogitAdjusted(class_counts=[5, 0, 5])(*batch))
    # Evaluation has the plain logits.
    module = Classifier(Net(), num_classes=3, loss=loss).eval()
    inputs = torch.randn(4, 3, 8, 8)
    assert torch.equal(module.probabilities(inputs), module(inputs).softmax(dim=1))
    with pytest.raises(Galaxy10Error, match="logit_adjusted needs the training images"):
        LogitAdjusted()


def test_smoothing_favours_no_class_in_the_logits_that_evaluation_uses(batch):
    counts, smoothing = [70, 28, 2], 0.1
    loss = LogitAdjusted(class_counts=counts, label_smoothing=smoothing)
    for label in range(3):
        share = smoothing * counts[label] / 100
        best = torch.zeros(1, 3)  # the other classes are equal
        best[0, label] = math.log((1 - smoothing + share) / share)
        best.requires_grad_()
        loss(best, torch.tensor([label])).backward()
        assert best.grad.abs().max() < 1e-6
    plain = LogitAdjusted(tau=0, class_counts=counts, label_smoothing=smoothing)
    assert float(plain(*batch)) == pytest.approx(float(CrossEntropy(label_smoothing=smoothing)(*batch)), rel=1e-6)


def test_smoothing_has_the_weight_of_the_image():
    logits, labels, weights = torch.randn(6, 3), torch.tensor([0, 0, 1, 2, 2, 1]), torch.tensor([0.2, 1.0, 9.0])
    each = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    expected = (each * weights[labels]).sum() / weights[labels].sum()
    loss = CrossEntropy(label_smoothing=0.1, class_weights=weights.tolist())
    assert float(loss(logits, labels)) == pytest.approx(float(expected), rel=1e-6)
    assert float(loss(logits, F.one_hot(labels, 3).float())) == pytest.approx(float(expected), rel=1e-6)


def test_class_weights_take_impossible_classes():
    logits, labels = torch.tensor([[0.5, 0.1, -torch.inf], [0.2, 0.3, -torch.inf]]), torch.tensor([0, 1])
    loss = CrossEntropy(class_weights=[1, 2, 1])(logits, labels)
    assert float(loss) == pytest.approx(float(F.cross_entropy(logits, labels, torch.tensor([1.0, 2, 1]))))


def test_a_loss_says_how_frequent_classes_seem_to_the_network():
    counts = torch.tensor([60.0, 30.0, 10.0], dtype=torch.float64)
    seen = counts * torch.tensor(class_factor(LogitAdjusted(class_counts=[60, 30, 10]), 3))
    assert seen.tolist() == pytest.approx([100 / 3] * 3, rel=1e-5)  # τ = 1: all as frequent
    seen = counts * torch.tensor(class_factor(FocalLoss(class_weights="balanced", class_counts=[60, 30, 10]), 3))
    assert seen.tolist() == pytest.approx([100 / 3] * 3, rel=1e-5)
    assert class_factor(CrossEntropy(), 3).tolist() == [1, 1, 1]
    assert class_factor(lambda logits, labels: logits.sum(), 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("weights", "counts", "said"),
    [
        ("even", [1, 1], "class_weights=even is unknown; type balanced, effective"),
        ([1, 2], [1, 1, 1], "has 2 numbers for 3 classes"),
        ("balanced", None, "balanced needs the training images"),
        ("effective", None, "effective needs the training images"),
    ],
)
@pytest.mark.parametrize("kind", [CrossEntropy, FocalLoss])
def test_wrong_class_weights_are_refused(kind, weights, counts, said):
    with pytest.raises(Galaxy10Error, match=said):
        kind(class_weights=weights, class_counts=counts)


def test_focal_loss_is_its_formula(batch):
    logits, labels = batch
    p = [float(row.softmax(0)[label]) for row, label in zip(logits, labels, strict=True)]
    by_hand = sum(-((1 - x) ** 2.5) * math.log(x) for x in p) / len(p)
    assert float(FocalLoss(gamma=2.5)(*batch)) == pytest.approx(by_hand, rel=1e-5)
    alpha = [0.5, 1.0, 4.0]
    weights = [alpha[label] for label in labels]
    by_hand = sum(-w * (1 - x) ** 2 * math.log(x) for w, x in zip(weights, p, strict=True)) / sum(weights)
    assert float(FocalLoss(class_weights=alpha)(*batch)) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_focal_loss_without_focus_is_cross_entropy(batch, weights):
    plain = CrossEntropy(class_weights=weights)(*batch)
    assert float(FocalLoss(gamma=0, class_weights=weights)(*batch)) == pytest.approx(float(plain), rel=1e-6)


# --- what a network and a loss must give ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (Net(4), r"a tensor of shape \(2, 4\)"),
        (nn.Identity(), r"a tensor of shape \(2, 3, 8, 8\)"),
        (type("Pair", (Net,), {"forward": lambda self, x: (x, x)})(), "a tuple"),
    ],
)
def test_a_network_that_gives_something_else_is_refused_in_one_line(network, found):
    module = Classifier(network, num_classes=3)
    inputs = torch.zeros(2, 3, 8, 8)
    for call in (lambda: module.loss(inputs, torch.zeros(2, dtype=torch.long)), lambda: module.probabilities(inputs)):
        with pytest.raises(Galaxy10Error, match=rf"gives {found} for inputs .*expected \(2, 3\)"):
            call()


def test_what_is_no_network_or_no_loss_is_refused():
    with pytest.raises(Galaxy10Error, match=r"object is no torch\.nn\.Module"):
        Classifier(object(), num_classes=3)
    module = Classifier(Net(), num_classes=3, loss=lambda logits, labels: 1.0)
    with pytest.raises(Galaxy10Error, match="the loss returns a float"):
        module.loss(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.long))
