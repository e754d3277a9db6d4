"""Draw the random flip or turn of a galaxy in an epoch: independently, or each pose once in a cycle of epochs."""

import torch

import galaxy10.data.counter_rng as counter_rng

SCHEDULES = ("independent", "cycle")
_SALT = 0x706F736573  # another random stream than the draws of the epoch with the cycle's number


def drawn_poses(schedule: str, mask: int, seed: int, epoch: int, rows: torch.Tensor) -> torch.Tensor:
    """Return the dihedral codes (B,) int64 of rows (B,) in an epoch; equal arguments give equal codes.

    independent: each epoch draws anew.
    cycle: all poses once in a cycle of as many epochs, in a random order for each galaxy and cycle.

    Args:
        schedule: one of SCHEDULES.
        mask: bits of the codes that are drawn: 0b111 for all eight flips and turns, 0b001 for two poses.
        epoch: from 0.
    """
    if schedule == "independent":
        draw = counter_rng.uniform(counter_rng.sample_seeds(seed, epoch, rows), 1)[:, 0]
        return (draw * 8).to(torch.int64) & mask
    cycle, number = divmod(epoch, mask + 1)
    key = counter_rng.splitmix64(counter_rng.sample_seeds(seed, cycle, rows) + _SALT)
    return counter_rng.uniform(key, mask + 1).argsort(dim=1, stable=True)[:, number]
