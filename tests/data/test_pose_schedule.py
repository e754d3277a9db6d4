"""Every galaxy in all of its poses once in a cycle of epochs, in an order that a restart repeats."""

import numpy as np
import pytest
import torch

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.pose_schedule import drawn_poses
from galaxy10.errors import Galaxy10Error

ROWS = torch.tensor([0, 1, 5, 17, 10**9])


def cycle(rows=ROWS, number=0, seed=0, mask=7):
    """The codes (B, epochs) of one cycle."""
    epochs = range(number * (mask + 1), (number + 1) * (mask + 1))
    return torch.stack([drawn_poses("cycle", mask, seed, epoch, rows) for epoch in epochs], dim=1)


@pytest.mark.parametrize("mask", [7, 1])
@pytest.mark.parametrize("number", [0, 1, 6])
def test_a_cycle_has_every_pose_once(mask, number):
    assert cycle(number=number, mask=mask).sort(dim=1).values.tolist() == [list(range(mask + 1))] * len(ROWS)


def test_the_order_is_of_the_seed_the_cycle_and_the_row_alone():
    assert torch.equal(cycle(ROWS.flip(0)), cycle().flip(0))
    for other in (cycle(number=1), cycle(seed=1), cycle(ROWS + 1)):
        assert not torch.equal(other, cycle())
    assert len({tuple(order) for order in cycle().tolist()}) == len(ROWS)


def test_each_epoch_has_every_pose_equally_often():
    for epoch in (0, 7, 11):
        counts = drawn_poses("cycle", 7, 0, epoch, torch.arange(8000)).bincount(minlength=8)
        assert ((counts - 1000).abs() < 130).all()


def test_images_are_seen_in_all_eight_poses_also_when_balancing_repeats_them():
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8))
    preprocessing = Preprocessing(image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    recipe = Augmentation(dihedral="all", dihedral_schedule="cycle")
    row = torch.tensor([5])
    for repeat in (0, 3):
        repeated = torch.tensor([repeat])
        seen = {
            preprocessing.train_transform(image, recipe, 0, epoch, row, repeated, repeated).numpy().tobytes()
            for epoch in range(8)
        }
        assert len(seen) == 8


def test_a_schedule_of_nothing_is_refused(here, galaxies):
    with pytest.raises(Galaxy10Error, match="is not one of independent, cycle"):
        Augmentation(dihedral="all", dihedral_schedule="sometimes")
    done = here("train.py", "data=hdf5", f"data.path={galaxies}", "augment=none", "augment.dihedral_schedule=cycle")
    assert done.code == 2
    assert "augment.dihedral_schedule=cycle orders flips and turns" in done.message
    assert "type augment.dihedral=all" in done.message
