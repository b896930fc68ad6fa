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
        keys, inverse, remainder, multipliers = _vertices(remainder_cell, rank)
        count = len(keys)
        self.slice_index = inverse
        self.blur_index = _neighbours(keys, remainder, multipliers)
        self.blur_weights = features.new_tensor([1.0, 0.5, 0.5]).repeat(count + 1, 1)
        order = inverse.flatten().to(torch.int32).argsort(stable=True)
        self.splat_index = order.div(dimensions + 1, rounding_mode="floor")
        size = torch.bincount(inverse.flatten(), minlength=count + 1)  # the last, empty row stands for "no vertex"
        self.splat_offsets = size.cumsum(0) - size
        self.splat_weights = weights.flatten()[order]
        self.slice_weights = weights / (1 + 2.0**-dimensions)
        scale = (self(features.new_ones(1, len(features), 1))[0] + EPSILON).rsqrt()
        self.slice_weights = self.slice_weights * scale
        self.splat_weights = self.splat_weights * scale[self.splat_index, 0]

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (1, N, K)."""
        table = F.embedding_bag(
            self.splat_index, values[0], self.splat_offsets, mode="sum", per_sample_weights=self.splat_weights
        )
        for index in self.blur_index:
            table = F.embedding_bag(index, table, mode="sum", per_sample_weights=self.blur_weights)
        return F.embedding_bag(self.slice_index, table, mode="sum", per_sample_weights=self.slice_weights)[None]


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


def _vertices(cell: Tensor, rank: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sorted keys (M,), vertex of each point and remainder (N, d+1), remainder of each vertex (M,), multipliers (d+1,).

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
    unique, inverse = torch.unique(keys, return_inverse=True)
    remainder = torch.empty_like(unique)
    remainder[inverse] = remainders.expand_as(inverse)
    return unique, inverse, remainder, multipliers


def _neighbours(keys: Tensor, remainder: Tensor, multipliers: Tensor) -> list[Tensor]:
    """For each of the d + 1 directions: each vertex, its two neighbours, (M + 1, 3); M stands for "no vertex"."""
    count, d = len(keys), len(multipliers) - 1
    own = torch.arange(count + 1, device=keys.device)
    wrap = remainder == 0
    base = keys + torch.where(wrap, d * multipliers[d] - multipliers[:d].sum(), -multipliers[d])
    out = []
    for axis in range(d + 1):
        wanted = base + multipliers[axis] if axis < d else base
        found = torch.searchsorted(keys, wanted).clamp_(max=count - 1)
        there = keys[found] == wanted
        index = own[:, None].repeat(1, 3)
        index[:, 1:] = count
        index[:count, 1] = torch.where(there, found, count)
        index[found[there], 2] = own[:count][there]
        out.append(index)
    return out
