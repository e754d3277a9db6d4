"""Random numbers that depend on (seed, epoch, galaxy) alone: not on batch, device count, process or restart.

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


def mix(x: torch.Tensor) -> torch.Tensor:
    """Int64 → int64 of the same shape; every bit of the answer depends on every bit of x."""
    x = x + _GOLDEN
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def keys(seed: int, epoch: int, rows: torch.Tensor, copies: torch.Tensor | None = None) -> torch.Tensor:
    """(B,) int64 keys for rows (B,), and for the how-manieth showing of the row in this epoch, copies (B,)."""
    start = mix(mix(torch.tensor(seed, dtype=torch.int64)) + epoch).to(rows.device)
    key = mix(start + rows.to(torch.int64))
    return key if copies is None else mix(key + copies.to(torch.int64))


def uniform(key: torch.Tensor, num: int) -> torch.Tensor:
    """(B, num) float32 in [0, 1), from keys (B,)."""
    counter = torch.arange(num, device=key.device, dtype=torch.int64)
    bits = mix(key[:, None] + mix(counter)[None, :])
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def normal(key: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """(B, *shape) float32 standard normal numbers, each row from its own generator."""
    out = torch.empty((len(key), *shape), device=key.device)
    generator = torch.Generator(key.device)
    for row, seed in zip(out, key.tolist(), strict=True):
        generator.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
        row.normal_(generator=generator)
    return out


def between(low: float, high: float, draw: torch.Tensor) -> torch.Tensor:
    """Draws in [0, 1) stretched to [low, high)."""
    return low + (high - low) * draw


def log_between(low: float, high: float, draw: torch.Tensor) -> torch.Tensor:
    """Draws in [0, 1) stretched to [low, high), uniform in the logarithm."""
    return torch.exp(between(math.log(low), math.log(high), draw))
