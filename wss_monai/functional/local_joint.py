# SPDX-License-Identifier: Apache-2.0
"""Joint distribution of two cluster maps at every displacement within a window, for local mutual information."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BACKENDS = ("auto", "shifted_views", "separable")


def local_joint(p: Tensor, q: Tensor, padding: Sequence[int], num_heads: int = 1, backend: str = "auto") -> Tensor:
    """Counts of cluster pairs at all displacements d with |d_axis| <= padding of the axis.

    C_d[i, j] = sum over samples n and voxels x of p[n, i, x] q[n, j, x + d]; what lies outside counts 0. The heads are
    independent of one another. Computed in float32 or wider, outside autocast; differentiable once in both maps, with
    memory beyond them and their gradients of less than a sample: what the gradient needs is made anew in the backward
    pass. Source: Peng, Pedersoli, Desrosiers, MELBA 2021:009 (local mutual information), after Ji et al., ICCV 2019.

    Args:
        p, q: (N, S*K, *spatial), channels head by head, any number of spatial axes from 1.
        padding: half of the window, a whole number for each spatial axis, smaller than the side.
        num_heads: S.
        backend: "shifted_views", "separable" or "auto", which gives the same up to rounding.

    Returns:
        (S, D, K, K), D = product of (2 padding + 1), displacements in lexicographic order, the last axis fastest.

    Raises:
        ValueError: maps of different shapes, channels that the heads do not divide, a padding that does not fit, or an
            unknown backend.
    """
    window = _checked(p, q, padding, num_heads, backend)
    with torch.autocast(p.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(p.dtype, q.dtype), torch.float32)
        function = _ShiftedViews if _chosen(backend, p) == "shifted_views" else _Separable
        return function.apply(p.to(wide), q.to(wide), window, num_heads)


def _chosen(backend: str, p: Tensor) -> str:
    if backend != "auto":
        return backend
    return "separable"


def _checked(p: Tensor, q: Tensor, padding: Sequence[int], num_heads: int, backend: str) -> tuple[int, ...]:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
    if p.shape != q.shape or p.dim() < 3:
        raise ValueError(
            f"p and q must be maps of one shape (N, S*K, *spatial), got {tuple(p.shape)} and {tuple(q.shape)}."
        )
    if not p.is_floating_point() or not q.is_floating_point():
        raise ValueError(f"p and q must be floating-point probabilities, got {p.dtype} and {q.dtype}.")
    if num_heads < 1 or p.shape[1] % num_heads:
        raise ValueError(f"num_heads {num_heads} must divide the {p.shape[1]} channels of p: give S*K channels.")
    window = tuple(padding)
    sides = tuple(p.shape[2:])
    if len(window) != len(sides) or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in window):
        raise ValueError(
            f"padding must be a whole number >= 0 for each of the {len(sides)} spatial axes, got {padding!r}."
        )
    if any(n >= side for n, side in zip(window, sides, strict=True)):
        raise ValueError(
            f"padding {window} must be smaller than the map {sides} on every axis: at a displacement of a whole side "
            f"no voxel has a partner. Give a smaller padding, or maps of a higher resolution."
        )
    return window


def _displacements(window: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(-n, n + 1) for n in window))


class _ShiftedViews(torch.autograd.Function):
    """Zeros at the end of each axis make every displacement one offset into the flat map: a view, not a copy."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, window: tuple[int, ...], heads: int) -> Tensor:
        ctx.save_for_backward(p, q)
        ctx.window, ctx.heads = window, heads
        offsets = _offsets(p.shape[2:], window)
        clusters = p.shape[1] // heads
        joint = p.new_zeros(heads, len(offsets), clusters, clusters)
        for one, other in zip(p, q, strict=True):
            a, b = _flat(one, window, heads), _flat(other, window, heads)
            for index, offset in enumerate(offsets):
                here, there = _overlap(offset, a.shape[-1])
                joint[:, index].baddbmm_(a[..., here], b[..., there].mT)
        return joint

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p, q = ctx.saved_tensors
        offsets = _offsets(p.shape[2:], ctx.window)
        grads = [
            torch.empty_like(t) if needed else None for t, needed in zip((p, q), ctx.needs_input_grad[:2], strict=True)
        ]
        with torch.autocast(p.device.type, enabled=False):
            for n in range(len(p)):
                for k, (given, target) in enumerate(((q[n], grads[0]), (p[n], grads[1]))):
                    if target is None:
                        continue
                    source = _flat(given, ctx.window, ctx.heads)
                    total = torch.zeros_like(source)
                    for index, offset in enumerate(offsets):
                        here, there = _overlap(offset if k == 0 else -offset, source.shape[-1])
                        weight = grad[:, index] if k == 0 else grad[:, index].mT
                        total[..., here].baddbmm_(weight, source[..., there])
                    target[n] = _cropped(total, target.shape[1:], ctx.window)
        return grads[0], grads[1], None, None


def _padded_shape(spatial: Sequence[int], window: Sequence[int]) -> list[int]:
    """The first axis needs no zeros: beyond its ends the flat map is over."""
    return [spatial[0], *(side + n for side, n in zip(spatial[1:], window[1:], strict=True))]


def _offsets(spatial: Sequence[int], window: Sequence[int]) -> list[int]:
    """Flat offset of each displacement in the padded map."""
    sides = _padded_shape(spatial, window)
    strides = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    return [sum(n * s for n, s in zip(shift, strides, strict=True)) for shift in _displacements(window)]


def _flat(values: Tensor, window: Sequence[int], heads: int) -> Tensor:
    """Sample (S*K, *spatial) with zeros at the end of the axes, (S, K, L)."""
    padded = values.new_zeros(values.shape[0], *_padded_shape(values.shape[1:], window))
    padded[(slice(None), *(slice(side) for side in values.shape[1:]))] = values
    return padded.view(heads, values.shape[0] // heads, -1)


def _cropped(flat: Tensor, shape: Sequence[int], window: Sequence[int]) -> Tensor:
    padded = flat.view(shape[0], *_padded_shape(shape[1:], window))
    return padded[(slice(None), *(slice(side) for side in shape[1:]))]


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Where x and x + offset are both within the flat map."""
    return slice(max(-offset, 0), length - max(offset, 0)), slice(max(offset, 0), length - max(-offset, 0))


ROWS = 16


class _Separable(torch.autograd.Function):
    """Shifts along all axes but the last on one map, along the last on the other: one product for all displacements.

    With y the first axes and x the last, C_(dy, dx)[i, j] = sum p[i, y - dy, x] q[j, y, x + dx]. Done in slabs of the
    first axis, so that the shifted copies stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, window: tuple[int, ...], heads: int) -> Tensor:
        ctx.save_for_backward(p, q)
        ctx.window, ctx.heads = window, heads
        left, right = _sides(window)
        clusters = p.shape[1] // heads
        total = p.new_zeros(heads, len(left) * clusters, len(right) * clusters)
        for one, other in zip(p, q, strict=True):
            for rows in _slabs(p.shape[2]):
                total.baddbmm_(_shifted(one, left, rows, heads), _shifted(other, right, rows, heads).mT)
        shape = (heads, len(left), clusters, len(right), clusters)
        return total.view(shape).transpose(2, 3).reshape(heads, -1, clusters, clusters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p, q = ctx.saved_tensors
        left, right = _sides(ctx.window)
        heads, clusters = ctx.heads, p.shape[1] // ctx.heads
        shape = (heads, len(left), len(right), clusters, clusters)
        weight = grad.reshape(shape).transpose(2, 3).reshape(heads, len(left) * clusters, len(right) * clusters)
        grads = [
            torch.zeros_like(t) if needed else None for t, needed in zip((p, q), ctx.needs_input_grad[:2], strict=True)
        ]
        with torch.autocast(p.device.type, enabled=False):
            for n in range(len(p)):
                for rows in _slabs(p.shape[2]):
                    if grads[0] is not None:
                        _add_back(grads[0][n], weight @ _shifted(q[n], right, rows, heads), left, rows)
                    if grads[1] is not None:
                        _add_back(grads[1][n], weight.mT @ _shifted(p[n], left, rows, heads), right, rows)
        return grads[0], grads[1], None, None


def _sides(window: Sequence[int]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Where each copy of p and of q reads: at y - dy and at x + dx."""
    left = [(*(-n for n in shift), 0) for shift in _displacements(window[:-1])]
    right = [(0,) * (len(window) - 1) + shift for shift in _displacements(window[-1:])]
    return left, right


def _slabs(side: int) -> Iterator[tuple[int, int]]:
    for start in range(0, side, ROWS):
        yield start, min(start + ROWS, side)


def _windows(shift: Sequence[int], rows: tuple[int, int], spatial: Sequence[int]) -> tuple[Any, Any]:
    """Index into a slab of the first axis, and into the map, of the voxels that the shift keeps within the map."""
    here, there = [], []
    for axis, (step, side) in enumerate(zip(shift, spatial, strict=True)):
        start, stop = rows if axis == 0 else (0, side)
        low, high = max(start, -step), min(stop, side - step)
        high = max(low, high)
        here.append(slice(low - start, high - start))
        there.append(slice(low + step, high + step))
    return tuple(here), tuple(there)


def _shifted(values: Tensor, shifts: Sequence[Sequence[int]], rows: tuple[int, int], heads: int) -> Tensor:
    """Copies of a slab of a sample (S*K, *spatial), each read at its shift, zero outside: (S, shifts * K, L)."""
    spatial = values.shape[1:]
    clusters = values.shape[0] // heads
    slab = values.new_zeros(heads, len(shifts), clusters, rows[1] - rows[0], *spatial[1:])
    values = values.unflatten(0, (heads, clusters))
    for index, shift in enumerate(shifts):
        here, there = _windows(shift, rows, spatial)
        slab[(slice(None), index, slice(None), *here)] = values[(slice(None), slice(None), *there)]
    return slab.view(heads, len(shifts) * clusters, -1)


def _add_back(total: Tensor, slab: Tensor, shifts: Sequence[Sequence[int]], rows: tuple[int, int]) -> None:
    """Add the gradient of the copies to the gradient (S*K, *spatial) of the sample."""
    spatial = total.shape[1:]
    heads = slab.shape[0]
    clusters = total.shape[0] // heads
    slab = slab.view(heads, len(shifts), clusters, rows[1] - rows[0], *spatial[1:])
    total = total.unflatten(0, (heads, clusters))
    for index, shift in enumerate(shifts):
        here, there = _windows(shift, rows, spatial)
        total[(slice(None), slice(None), *there)] += slab[(slice(None), index, slice(None), *here)]
