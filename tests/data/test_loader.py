import numpy as np
import pytest

from galaxy10.data.loader import EpochSampler, GalaxyLoader, SequentialSampler
from galaxy10.data.resampling import epoch_plan, samples_per_class

LABELS = np.repeat([0, 1, 2], [64, 16, 4])


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return [tuple(part.tolist() for part in batch) for batch in sampler]


def test_order_depends_on_seed_and_epoch_alone():
    assert epoch_of(EpochSampler(LABELS, 8, seed=1), 3) == epoch_of(EpochSampler(LABELS, 8, seed=1), 3)
    assert epoch_of(EpochSampler(LABELS, 8, seed=1), 3) != epoch_of(EpochSampler(LABELS, 8, seed=1), 4)
    assert epoch_of(EpochSampler(LABELS, 8, seed=1), 3) != epoch_of(EpochSampler(LABELS, 8, seed=2), 3)


@pytest.mark.parametrize("balance", ["none", "dihedral", "weighted"])
def test_processes_share_each_batch_of_the_single_process(balance):
    whole = epoch_of(EpochSampler(LABELS, 8, 0, balance), 2)
    parts = [epoch_of(EpochSampler(LABELS, 8, 0, balance, rank, 4), 2) for rank in range(4)]
    for number, batch in enumerate(whole):
        joined = tuple([x for part in parts for x in part[number][i]] for i in range(3))
        assert joined == batch


def test_an_epoch_shows_every_galaxy_once_but_for_the_incomplete_batch():
    batches = epoch_of(EpochSampler(LABELS, 8, 0), 0)
    repeating = EpochSampler(LABELS, 8, 0)
    repeating.same_order = True  # trainer.overfit_batches
    assert epoch_of(repeating, 5) == batches
    shown = [position for batch in batches for position in batch[0]]
    assert len(shown) == len(set(shown)) == 80


def test_evaluation_sees_every_galaxy_exactly_once():
    for world in (1, 2, 3):
        shards = [epoch_positions(SequentialSampler(85, 8, rank, world)) for rank in range(world)]
        assert {p for shard in shards for p in shard} == set(range(85))
        assert len({len(list(SequentialSampler(85, 8, rank, world))) for rank in range(world)}) == 1


def epoch_positions(sampler):
    return [p for batch in sampler for p in batch[0].tolist()]


def test_orientations_fill_rare_classes_with_different_orientations_of_the_same_rows():
    positions, repeat_index, dihedral = epoch_plan(LABELS, "dihedral", np.random.default_rng(0))
    shown = np.bincount(LABELS[positions])
    assert shown.tolist() == [64, 64, 32]  # the third class at its limit: eight dihedral of four galaxies
    assert samples_per_class(LABELS, "dihedral", 3).tolist() == [64, 64, 32]
    pairs = set(zip(positions.tolist(), dihedral.tolist(), strict=True))
    assert len(pairs) == len(positions)
    assert (repeat_index < 8).all()


def test_weighted_draws_classes_equally():
    rng = np.random.default_rng(0)
    shown = sum(np.bincount(LABELS[epoch_plan(LABELS, "weighted", rng)[0]], minlength=3) for _ in range(100))
    assert np.allclose(shown / shown.sum(), 1 / 3, atol=0.02)
    assert np.allclose(samples_per_class(LABELS, "weighted", 3), 28)


def test_batches_hold_the_rows_they_name():
    images = np.arange(84 * 12, dtype=np.uint64).astype(np.uint8).reshape(84, 2, 2, 3)
    rows = np.arange(0, 84, 2)
    loader = GalaxyLoader(images, rows, LABELS[rows], EpochSampler(LABELS[rows], 8, 0))
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    for batch in batches:
        assert np.array_equal(batch["images"], images[batch["rows"]])
        assert np.array_equal(batch["labels"], LABELS[batch["rows"]])
