# SPDX-License-Identifier: Apache-2.0
"""Gaussian filter on the permutohedral lattice, in torch: cost and memory linear in the number of points.

Source: Adams, Baek and Davis, Eurographics 2010. The embedding, the blur and the factor of the slicing are those of
pydensecrf, so that the approximation is the same.

A vertex of the lattice in d dimensions has d + 1 integer coordinates of sum 0, all congruent to one remainder r in
0..d; coordinate i is (d + 1) q_i + r. The integers (q_0 .. q_{d-1}, r) name it, and a weighted sum of them, its key, is
one int64. Splat, blur and slice are weighted sums of rows of a table, which ``embedding_bag`` computes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional.crf.exact import EPSILON


class LatticeFilter:
    """Normalised Gaussian kernel, D^-1/2 K D^-1/2 with D = K 1 + 1e-20, approximated on the lattice.

    Args:
        features: (N, F) points of one sample, already divided by the standard deviations.
    """

    def __init__(self, features: Tensor) -> None:
        remainder_cell, rank, weights = _simplex(features)
        dimensions = features.shape[1]
        keys, inverse, order, counts, remainder, multipliers = _vertices(remainder_cell, rank)
        count = len(keys)
        empty = F.pad(counts, (0, 1))  # the last, empty row stands for "no vertex"
        splat = order.div(dimensions + 1, rounding_mode="floor")
        splat_starts = (empty.cumsum(0) - empty).int()
        self.splat = _Sums(splat.int(), splat_starts, weights.flatten()[order])
        tent = features.new_tensor([1.0, 0.5, 0.5]).repeat(count + 1)
        starts = torch.arange(0, 3 * (count + 1), 3, dtype=torch.int32, device=features.device)
        self.blurs = [_Sums(index.flatten(), starts, tent) for index in _neighbours(keys, remainder, multipliers)]
        starts = torch.arange(0, inverse.numel(), dimensions + 1, dtype=torch.int32, device=features.device)
        self.slice = _Sums(inverse.flatten().int(), starts, (weights / (1 + 2.0**-dimensions)).flatten())
        scale = (self(features.new_ones(1, len(features), 1))[0] + EPSILON).rsqrt()
        self.slice.weights = (self.slice.weights.reshape(weights.shape) * scale).flatten()
        self.splat.weights = self.splat.weights * scale[splat, 0]

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (1, N, K)."""
        table = self.splat(values[0])
        for blur in self.blurs:
            table = blur(table)
        return self.slice(table)[None]


class _Sums:
    """Weighted sums of rows of a table, one after the other: which rows, where each sum starts, the weights."""

    def __init__(self, rows: Tensor, starts: Tensor, weights: Tensor) -> None:
        self.rows, self.starts, self.weights = rows, starts, weights

    def __call__(self, table: Tensor) -> Tensor:
        return F.embedding_bag(self.rows, table, self.starts, mode="sum", per_sample_weights=self.weights)


def _simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each point: cell (N, d+1) and rank (N, d+1), integers, and barycentric weights (N, d+1).

    The cell is the remainder-0 vertex divided by d + 1; weights are in the order of the remainders.
    """
    count, d = features.shape
    scale = [math.sqrt(2 / 3) * (d + 1) / math.sqrt((i + 1) * (i + 2)) for i in range(d)]
    scaled = features * features.new_tensor(scale)
    above = scaled.flip(1).cumsum(1).flip(1)  # sum over the dimensions from i on
    steps = torch.arange(1, d + 1, device=features.device, dtype=features.dtype)
    elevated = features.new_empty(count, d + 1)
    elevated[:, 0] = above[:, 0]
    elevated[:, 1:] = -steps * scaled
    elevated[:, 1:d] += above[:, 1:]

    cell = torch.round(elevated / (d + 1))
    excess = cell.sum(1, keepdim=True)
    difference = elevated - cell * (d + 1)
    order = difference.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(d + 1, device=features.device).expand(count, d + 1)
    rank = torch.empty_like(order).scatter_(1, order, places) + excess.long()
    low, high = rank < 0, rank > d
    turn = low.long() - high.long()
    rank += turn * (d + 1)
    cell += turn
    difference = (elevated - cell * (d + 1)) / (d + 1)

    weights = features.new_zeros(count, d + 2)
    weights.scatter_add_(1, d - rank, difference)
    weights.scatter_add_(1, d + 1 - rank, -difference)
    weights[:, 0] += 1 + weights[:, d + 1]
    return cell.long(), rank, weights[:, : d + 1].contiguous()


def _vertices(cell: Tensor, rank: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The vertices that the points touch, in the order of their keys.

    Returns:
        sorted keys (M,); the vertex of each point and remainder (N, d+1); the places (N (d+1),) of that table in the
        order of their vertices, and how many each vertex has (M,); the remainder of each vertex (M,); multipliers
        (d+1,).

    A vertex's key is sum_i q_i multipliers_i + r multipliers_d. The multipliers are strides over the range of q, with
    room for neighbours. Where their product is beyond int64 (many channels, narrow widths) they are random and the sum
    wraps around; two of M vertices then share a key with probability M^2 / 2^65.
    """
    d = cell.shape[1] - 1
    cell, rank = cell[:, :d], rank[:, :d]
    lowest = cell.amin(0) - 2
    spans = (cell.amax(0) - lowest + 2).tolist()
    strides = [d + 1]
    for span in reversed(spans[1:]):
        strides.insert(0, strides[0] * span)
    if strides[0] * spans[0] < 2**62:
        multipliers = torch.tensor([*strides, 1], device=cell.device)
    else:
        generator = torch.Generator().manual_seed(0)
        multipliers = torch.randint(2**62, (d + 1,), generator=generator).to(cell.device) * 2 + 1
    remainders = torch.arange(d + 1, device=cell.device)
    keys = ((cell - lowest) * multipliers[:d]).sum(1)[:, None] + remainders * multipliers[d]
    for axis in range(d):
        keys -= (rank[:, axis, None] > d - remainders) * multipliers[axis]
    ordered, order = keys.flatten().sort(stable=True)  # one sort says all
    unique, place, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    inverse = torch.empty_like(place).scatter_(0, order, place)
    first = order[counts.cumsum(0) - counts]
    return unique, inverse.reshape(keys.shape), order, counts, first % (d + 1), multipliers


def _neighbours(keys: Tensor, remainder: Tensor, multipliers: Tensor) -> list[Tensor]:
    """For each of the d + 1 directions: each vertex, its two neighbours, (M + 1, 3); M stands for "no vertex"."""
    count, d = len(keys), len(multipliers) - 1
    own = torch.arange(count + 1, device=keys.device, dtype=torch.int32)
    wrap = remainder == 0
    base = keys + torch.where(wrap, d * multipliers[d] - multipliers[:d].sum(), -multipliers[d])
    out = []
    for axis in range(d + 1):
        wanted = base + multipliers[axis] if axis < d else base
        found = torch.searchsorted(keys, wanted).clamp_(max=count - 1)
        found = torch.where(keys[found] == wanted, found, count)
        index = own.new_full((count + 1, 3), count)
        index[:, 0] = own
        index[:count, 1] = found
        index[:, 2].scatter_(0, found, own[:count])  # who is not found writes into the last row, which is then cleared
        index[count, 2] = count
        out.append(index)
    return out
