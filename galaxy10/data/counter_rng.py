"""Random numbers that depend only on (seed, epoch, galaxy), not on batch, device count, process or restart.

A counter-based generator in the sense of Salmon et al. 2011 (doi:10.1145/2063384.2063405), with the finaliser of
SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) as its mixing function.
"""

import math

import torch

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(x: torch.Tensor) -> torch.Tensor:
    """Mix int64 numbers to int64 of the same shape; every bit of the result depends on every bit of x."""
    x = x + _GOLDEN
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def sample_seeds(seed: int, epoch: int, rows: torch.Tensor, repeat_index: torch.Tensor | None = None) -> torch.Tensor:
    """Return keys (B,) int64 for rows (B,), and for each repeat of a row in the epoch, repeat_index (B,)."""
    start = int(
        splitmix64(splitmix64(torch.tensor(seed, dtype=torch.int64)) + epoch)
    )  # a Python number: copying a tensor to a GPU synchronises it
    key = splitmix64(start + rows.to(torch.int64))
    return key if repeat_index is None else splitmix64(key + repeat_index.to(torch.int64))


def uniform(key: torch.Tensor, num: int) -> torch.Tensor:
    """Return uniform numbers (B, num) float32 in [0, 1) for keys (B,)."""
    counter = torch.arange(num, device=key.device, dtype=torch.int64)
    bits = splitmix64(key[:, None] + splitmix64(counter)[None, :])
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def normal(key: torch.Tensor, num: int) -> torch.Tensor:
    """Return standard normal numbers (B, num) float32 for keys (B,); CPUs and GPUs give different numbers."""
    if key.device.type != "cpu":
        return counted_normal(key, num)
    out = torch.empty((len(key), num), dtype=torch.float32)
    generator = torch.Generator()
    for row, seed in zip(out, key.tolist(), strict=True):
        generator.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
        row.normal_(generator=generator)
    return out


def counted_normal(key: torch.Tensor, num: int) -> torch.Tensor:
    """Return standard normal numbers (B, num) float32 by counting (Box & Muller 1958, doi:10.1214/aoms/1177706645).

    Needs neither a loop over rows nor the keys on the host, which would synchronise a GPU. It passes twelve times over
    64-bit integers: on CPUs a generator is faster.
    """
    pairs = torch.arange((num + 1) // 2, device=key.device, dtype=torch.int64)
    bits = splitmix64(key[:, None] + splitmix64(pairs)[None, :])
    radius = (-2 * torch.log1p(-_shift_right(bits, 40).float() * 2.0**-24)).sqrt()
    angle = ((bits >> 8) & 0xFFFFFF).float() * (2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :num]


def scale_to(low: float, high: float, draw: torch.Tensor) -> torch.Tensor:
    """Scale draws in [0, 1) to [low, high)."""
    return low + (high - low) * draw


def log_scale_to(low: float, high: float, draw: torch.Tensor) -> torch.Tensor:
    """Scale draws in [0, 1) to [low, high), uniform in the logarithm."""
    return torch.exp(scale_to(math.log(low), math.log(high), draw))
