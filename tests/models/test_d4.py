"""Networks whose output is the same whichever way up an image is, and their twins."""

import copy

import pytest
import torch

from galaxy10.data.dihedral import tta_views
from galaxy10.errors import Galaxy10Error
from galaxy10.models import D4CNN, D4ResNet, PlainCNN, PlainResNet
from galaxy10.models.d4 import ORDER, D4ConvBN, Halve, inverse, product, transform

NETWORKS = (D4CNN, D4ResNet)


def test_the_multiplication_table_is_that_of_flips_and_quarter_turns():
    image = torch.arange(9.0).view(3, 3)
    poses = [transform(image, e) for e in range(ORDER)]
    assert len({tuple(pose.flatten().tolist()) for pose in poses}) == ORDER
    assert torch.equal(poses[4], image.flip(-1))
    assert torch.equal(poses[1], torch.rot90(image))
    for first in range(ORDER):
        assert product(first, inverse(first)) == product(inverse(first), first) == 0
        for second in range(ORDER):
            assert torch.equal(transform(poses[second], first), poses[product(first, second)])


def test_a_turned_input_turns_the_feature_maps_and_permutes_their_orientations():
    torch.manual_seed(0)
    lift, conv = D4ConvBN(3, 2, 5, lift=True).double().eval(), D4ConvBN(2, 3, 3).double().eval()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def maps(x):
        return conv(torch.relu(lift(x))).unflatten(1, (ORDER, -1))

    upright = maps(image)
    for e in range(ORDER):
        order = [product(inverse(e), h) for h in range(ORDER)]
        assert torch.allclose(maps(transform(image, e)), transform(upright[:, order], e), atol=1e-12)


def test_the_first_weights_have_the_variance_of_he_initialisation():
    torch.manual_seed(0)
    layer = D4ConvBN(16, 64, 3)
    assert layer.weight.shape == (64, ORDER * 16, 3, 3)
    assert layer.weight.std().item() == pytest.approx((2 / (ORDER * 16 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("px", [32, 33])
def test_probabilities_are_equal_over_all_poses(network, px):
    torch.manual_seed(0)
    net = trained(network(5, px, "tiny", dropout=0.5), px)
    images = torch.rand(3, 3, px, px)
    for training in (False, True):
        net.train(training)
        assert spread(net, images) < 1e-5
        assert spread(copy.deepcopy(net).double(), images.double()) < 1e-12
    with torch.autocast("cpu", torch.bfloat16):
        net.eval()
        assert spread(net, images) < 0.02  # a few units of bfloat16's 8 bits


@pytest.mark.parametrize("twin", [PlainCNN, PlainResNet])
def test_the_ordinary_twin_sees_a_difference(twin):
    torch.manual_seed(0)
    assert spread(trained(twin(5, 32, "tiny"), 32).eval(), torch.rand(3, 3, 32, 32)) > 1e-3


@pytest.mark.parametrize(("network", "twin"), [(D4CNN, PlainCNN), (D4ResNet, PlainResNet)])
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_the_twin_has_the_same_maps_and_eight_times_the_weights(network, twin, size):
    images = torch.rand(2, 3, 32, 32)
    maps, twins_maps = ([tuple(m.shape) for m in feature_maps(n(4, 32, size), images)] for n in (network, twin))
    assert maps == twins_maps
    weights, twins_weights = (sum(p.numel() for p in n(4, 32, size).parameters()) for n in (network, twin))
    assert 7 < twins_weights / weights < 8.2


def test_folded_filters_follow_the_weights():
    """Averages of weights are copied into a network in evaluation mode, without a call that it could notice."""
    torch.manual_seed(0)
    net = trained(D4CNN(5, 32, "tiny"), 32).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = net(images)
        assert torch.allclose(net(images), before)
        for parameter in net.parameters():
            parameter.data.copy_(parameter.data * 0.5)
        after = net(images)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(net(images), after, atol=1e-5)  # with gradients, nothing is folded


def test_evaluation_with_gradients_reaches_the_weights():
    net = D4CNN(5, 32, "tiny").eval()
    with torch.no_grad():
        net(torch.rand(1, 3, 32, 32))  # folds
    net(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_halving_keeps_the_symmetry():
    for px, halved in ((6, 3), (7, 4)):
        image = torch.rand(1, 2, px, px)
        for mode in ("max", "mean"):
            small = Halve(mode)(image)
            assert small.shape[-1] == halved
            for e in range(ORDER):
                assert torch.allclose(Halve(mode)(transform(image, e)), transform(small, e))


@pytest.mark.parametrize("network", [*NETWORKS, PlainCNN])
def test_a_size_that_would_break_the_symmetry_is_refused_with_the_next(network):
    with pytest.raises(Galaxy10Error, match=r"model\.image_size=112"):
        network(5, 100)


def test_a_size_is_refused_before_torch_is_imported(here, galaxies):
    data = ["data=hdf5", f"data.path={galaxies}", "logger=csv"]
    done = here("train.py", *data, "model=d4_cnn", "model.image_size=100")
    assert done.code == 2
    assert (
        "model=d4_cnn takes images of a multiple of 16 px (or one more), not 100; type model.image_size=112" in done.err
    )
    done = here("train.py", *data, "model=d4_resnet", "model.network.size=huge")
    assert done.code == 2
    assert "model.network.size=huge is not allowed; expected tiny, small or base" in done.err


@pytest.mark.long
def test_a_trained_run_and_its_onnx_say_the_same_of_every_pose(galaxy10, galaxies, tmp_path):
    words = ["data=hdf5", f"data.path={galaxies}", "data.batch_size=8", "trainer.max_epochs=2", "logger=csv"]
    done = galaxy10(
        "train", *words, "model=d4_cnn", "model.network.size=tiny", "model.image_size=auto", "run.dir=r",
        "run.report=false",
    )  # fmt: skip
    assert done.code == 0, done.err
    import onnx
    import onnxruntime

    from galaxy10.models import load_classifier

    module = load_classifier(tmp_path / "r" / "checkpoints" / "best.ckpt")
    assert module.preprocessing.image_size % 16 == 0
    px = module.preprocessing.image_size
    images = torch.randint(0, 256, (2, px, px, 3), dtype=torch.uint8)
    poses = [transform(images.permute(0, 3, 1, 2), e).permute(0, 2, 3, 1).contiguous() for e in range(ORDER)]
    with torch.no_grad():
        found = torch.stack([module.probabilities(module.preprocessing.eval_transform(pose)) for pose in poses])
    assert (found - found[0]).abs().max() < 1e-5
    assert galaxy10("export", "r", "-o", "model.onnx").code == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    exported = torch.stack(
        [torch.from_numpy(session.run(["probabilities"], {"images": pose.numpy()})[0]) for pose in poses]
    )
    assert (exported - exported[0]).abs().max() < 1e-5
    # The filters are in the file as they are used: 8 orientations, and nothing permutes them at every call.
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in graph.node].count("Conv") == 5
    assert not {"Gather", "GatherND", "ScatterND"} & {node.op_type for node in graph.node}


def trained(net, px):
    """The network after three steps on noise, so that no weight is at its start."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(net(torch.rand(8, 3, px, px)), torch.randint(0, 5, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def spread(net, images):
    """The largest difference of a probability over the eight poses."""
    answers = []
    with torch.no_grad():
        for pose in tta_views(images, 8):
            torch.manual_seed(1)  # one dropout mask for all
            answers.append(net(pose).float().softmax(dim=1) if images.dtype == torch.float32 else net(pose).softmax(1))
    return (torch.stack(answers) - answers[0]).abs().max().item()


def feature_maps(net, images):
    """The output of each layer with maps."""
    maps = []
    for layer in net:
        images = layer(images)
        if images.dim() == 4:
            maps.append(images)
    return maps
