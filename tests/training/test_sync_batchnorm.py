"""Two processes with synchronised batch norm compute what one process computes on both their batches."""

import sys

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from galaxy10.training.sync_batchnorm import SyncedBatchNorm
from tests.conftest import ROOT, ended

BATCH = 12


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Flatten())


def batch():
    return 5 + 2 * torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def step(model, images):
    """The gradients of a loss that has a mean over the batch, as training's does."""
    out = model(images)
    (out.sin() * torch.linspace(0, 1, out.shape[1])).sum(dim=1).mean().backward()
    return out.detach()


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = SyncedBatchNorm().apply(network())
    out = step(model, batch()[rank * BATCH // 2 : (rank + 1) * BATCH // 2])
    for parameter in model.parameters():  # as DDP does
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
    model = SyncedBatchNorm().revert(model)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    kinds = [type(module).__name__ for module in model]
    torch.save((out, gradients, model.state_dict(), kinds), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_outputs_gradients_and_statistics_are_those_of_one_process(start, tmp_path):
    processes = [start(__file__, rank, tmp_path, cwd=ROOT, PYTHONPATH=str(ROOT)) for rank in (0, 1)]
    done = [ended(process) for process in processes]
    assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
    answers = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    alone = network()
    out = step(alone, batch())
    assert torch.allclose(torch.cat([answer[0] for answer in answers]), out, atol=1e-5)
    for _, gradients, state, kinds in answers:
        for name, parameter in alone.named_parameters():
            assert torch.allclose(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5), name
        for name, tensor in alone.state_dict().items():
            assert torch.allclose(state[name], tensor, rtol=1e-5, atol=1e-6), name
        assert kinds == [type(module).__name__ for module in alone]


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
