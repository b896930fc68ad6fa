# SPDX-License-Identifier: Apache-2.0
"""Sums over the slices of volumes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Groups", "sum_groups"]


class Groups(NamedTuple):
    """What holds of G groups.

    Attributes:
        number: (G,) of each, ascending.
        total: (G, K, M) sum of the measures of its members.
        bounds: (G, K, M, 2) lowest lower and highest upper side of its members.
        members: (G,) for how many slices they stand.
    """

    number: Tensor
    total: Tensor
    bounds: Tensor
    members: Tensor


def sum_groups(measure: Tensor, bounds: Tensor, group: Tensor, weight: Tensor | None = None) -> Groups:
    """Sum measures over groups.

    Args:
        measure: (B, K, M).
        bounds: (B, K, M, 2) about the whole group.
        group: (B,) integers.
        weight: (B,) how many slices a member stands for; None: 1.
    """
    weight = measure.new_ones(measure.shape[0]) if weight is None else weight.to(measure)
    number, index = torch.unique(group, return_inverse=True)
    total = measure.new_zeros(len(number), *measure.shape[1:]).index_add(0, index, measure * weight.view(-1, 1, 1))
    members = weight.new_zeros(len(number)).index_add(0, index, weight)
    spread = index.view(-1, 1, 1).expand_as(bounds[..., 0])
    lower = total.new_zeros(total.shape).scatter_reduce(0, spread, bounds[..., 0], "amin", include_self=False)
    upper = total.new_zeros(total.shape).scatter_reduce(0, spread, bounds[..., 1], "amax", include_self=False)
    return Groups(number, total, torch.stack((lower, upper), -1), members)
