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
    independent of one another. Computed in float32 or wider, outside autocast; differentiable once in both maps. Beyond
    them and their gradients it takes the memory of about two samples: what the gradient needs is made anew in the
    backward pass.

    Source: Peng, Pedersoli, Desrosiers, MELBA 2021:009 (local mutual information), after Ji et al., ICCV 2019.

    Args:
        p, q: (N, S*K, *spatial), channels head by head, any number of spatial axes from 1.
        padding: half of the window, a whole number for each spatial axis, smaller than the side.
        num_heads: S.
        backend: "shifted_views" (a product a displacement, no shifted copies), "separable" (one product for all
            displacements of a slab) or "auto", the faster one as far as was measured; the same up to rounding.

    Returns:
        (S, D, K, K), D = product of (2 padding + 1), displacements in lexicographic order, the last axis fastest.

    Raises:
        ValueError: maps of different shapes, channels that the heads do not divide, a padding that does not fit, or an
            unknown backend.
    """
    window = _checked(p, q, padding, num_heads, backend)
    with torch.autocast(p.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(p.dtype, q.dtype), torch.float32)
        function = (
            _ShiftedViews if _chosen(backend, p.device.type, window, num_heads) == "shifted_views" else _Separable
        )
        return function.apply(p.to(wide), q.to(wide), window, num_heads)


def _chosen(backend: str, device: str, window: Sequence[int], num_heads: int) -> str:
    """The faster backend, by benchmarks/local_mutual_information.py.

    On one CPU thread, for one head, shifted views take a tenth less where a window is 3 wide, the separable shifts a
    fifth less where it is 7 wide, and less for five heads. With two threads on a busy machine the separable shifts,
    whose products are few and large, stay as fast, and the many small ones of shifted views take nearly twice the CPU
    time. On an H100 the separable shifts are 5 and 10 times as fast (docs/results/gpu.md).
    """
    if backend != "auto":
        return backend
    return "shifted_views" if device == "cpu" and window[-1] <= 1 and num_heads == 1 else "separable"


def _checked(p: Tensor, q: Tensor, padding: Sequence[int], num_heads: int, backend: str) -> tuple[int, ...]:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
    if p.shape != q.shape or p.dim() < 3:
        raise ValueError(
            f"p and q must be maps of one shape (N, S*K, *spatial), got {tuple(p.shape)} and {tuple(q.shape)}."
        )
    if not p.numel():
        raise ValueError(f"p and q hold no voxels: their shape is {tuple(p.shape)}.")
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
        a, b = _Flat(p, window, heads), _Flat(q, window, heads)
        for n in range(len(p)):
            a.inside.copy_(p[n])
            b.inside.copy_(q[n])
            for index, here, there in _blocks(offsets, a.flat.shape):
                joint[:, index].baddbmm_(a.flat[..., here], b.flat[..., there].mT)
        return joint

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p, q = ctx.saved_tensors
        offsets = _offsets(p.shape[2:], ctx.window)
        grads = [torch.empty_like(t) if needed else None for t, needed in _wanted(ctx, p, q)]
        source, total = _Flat(p, ctx.window, ctx.heads), _Flat(p, ctx.window, ctx.heads)
        with torch.autocast(p.device.type, enabled=False):
            for target, other, sign, weight in ((grads[0], q, 1, grad), (grads[1], p, -1, grad.mT)):
                if target is None:
                    continue
                for n in range(len(p)):
                    source.inside.copy_(other[n])
                    total.flat.zero_()
                    for index, here, there in _blocks([sign * offset for offset in offsets], total.flat.shape):
                        total.flat[..., here].baddbmm_(weight[:, index], source.flat[..., there])
                    target[n] = total.inside
        return grads[0], grads[1], None, None


class _Flat:
    """Buffer of a sample with zeros at the end of its axes.

    Attributes:
        flat: (S, K, L).
        inside: the same memory without the zeros, (S*K, *spatial).
    """

    def __init__(self, like: Tensor, window: Sequence[int], heads: int) -> None:
        buffer = like.new_zeros(like.shape[1], *_padded_shape(like.shape[2:], window))
        self.flat = buffer.view(heads, like.shape[1] // heads, -1)
        self.inside = buffer[(slice(None), *(slice(side) for side in like.shape[2:]))]
        self.length = self.flat.shape[-1]


def _wanted(ctx: Any, p: Tensor, q: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """Each map and whether it needs a gradient."""
    return zip((p, q), ctx.needs_input_grad[:2], strict=True)


def _padded_shape(spatial: Sequence[int], window: Sequence[int]) -> list[int]:
    """The first axis needs no zeros: beyond its ends the flat map is over."""
    return [spatial[0], *(side + n for side, n in zip(spatial[1:], window[1:], strict=True))]


def _offsets(spatial: Sequence[int], window: Sequence[int]) -> list[int]:
    """Flat offset of each displacement in the padded map."""
    sides = _padded_shape(spatial, window)
    strides = [math.prod(sides[axis + 1 :]) for axis in range(len(sides))]
    return [sum(n * s for n, s in zip(shift, strides, strict=True)) for shift in _displacements(window)]


BLOCK = 1 << 18
"""Values of a block of the flat map on a CPU: all displacements of one block, then the next, from the cache."""


def _blocks(offsets: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, slice, slice]]:
    """For each block of flat positions x and each displacement, its number, and where x and x + offset are."""
    length = shape[-1]
    size = max(BLOCK * length // math.prod(shape), 1024)
    for start in range(0, length, size):
        for index, offset in enumerate(offsets):
            low, high = max(start, -offset), min(start + size, length, length - offset)
            if low < high:
                yield index, slice(low, high), slice(low + offset, high + offset)


class _Separable(torch.autograd.Function):
    """Shifts along all axes but the last on one map, along the last on the other: one product for all displacements.

    With y the first axes and x the last, C_(dy, dx)[i, j] = sum p[i, y - dy, x] q[j, y, x + dx]. Done in slabs of the
    first axis, so that the shifted copies are few and stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, window: tuple[int, ...], heads: int) -> Tensor:
        ctx.save_for_backward(p, q)
        ctx.window, ctx.heads = window, heads
        left, right, starts = _slabs(p, window, heads)
        total = p.new_zeros(heads, left.count, right.count)
        for one, other in zip(p, q, strict=True):
            for start in starts:
                total.baddbmm_(left.read(one, start), right.read(other, start).mT)
        clusters = p.shape[1] // heads
        shape = (heads, len(left.shifts), clusters, len(right.shifts), clusters)
        return total.view(shape).transpose(2, 3).reshape(heads, -1, clusters, clusters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p, q = ctx.saved_tensors
        left, right, starts = _slabs(p, ctx.window, ctx.heads)
        clusters = p.shape[1] // ctx.heads
        shape = (ctx.heads, len(left.shifts), len(right.shifts), clusters, clusters)
        weight = grad.reshape(shape).transpose(2, 3).reshape(ctx.heads, left.count, right.count)
        grads = [torch.zeros_like(t) if needed else None for t, needed in _wanted(ctx, p, q)]
        product = p.new_empty(max(left.values.numel(), right.values.numel()))
        with torch.autocast(p.device.type, enabled=False):
            for target, own, others, other, factor in (
                (grads[0], left, right, q, weight),
                (grads[1], right, left, p, weight.mT),
            ):
                if target is None:
                    continue
                values = product[: own.values.numel()].view(own.values.shape)
                for n in range(len(p)):
                    for start in starts:
                        torch.bmm(factor, others.read(other[n], start), out=values.view(ctx.heads, own.count, -1))
                        own.add_back(values, target[n], start)
        return grads[0], grads[1], None, None


SLAB = 1 << 19
"""Most values of the copies of a slab on a CPU: with 2 MiB of them, their products stay in the cache."""


def _slabs(p: Tensor, window: Sequence[int], heads: int) -> tuple[_Copies, _Copies, range]:
    """Copies of p at y - dy and of q at x + dx, and the first row of each slab.

    Copies of a slab hold at most a quarter of the values of p, or are those of a single row.
    """
    left = [(*(-n for n in shift), 0) for shift in _displacements(window[:-1])]
    right = [(*(0 for _ in window[:-1]), *shift) for shift in _displacements(window[-1:])]
    side = p.shape[2]
    most = min(p.numel() // 4, SLAB if p.device.type == "cpu" else p.numel())
    rows = max(most // (max(len(left), len(right)) * p[0, :, 0].numel()), 1)
    rows = math.ceil(side / math.ceil(side / rows))
    return _Copies(p, left, rows, heads), _Copies(p, right, rows, heads), range(0, side, rows)


class _Copies:
    """A buffer for a slab of a sample, each copy read at its shift, zero outside of the map.

    Rows of the last slab that lie beyond the map are zero in the copies of q, so that they count for nothing.

    Attributes:
        values: (S, shifts, K, rows, *the other axes).
        count: shifts * K.
    """

    def __init__(self, like: Tensor, shifts: Sequence[Sequence[int]], rows: int, heads: int) -> None:
        self.shifts, self.rows, self.spatial = shifts, rows, like.shape[2:]
        self.split = (heads, like.shape[1] // heads)
        self.values = like.new_zeros(heads, len(shifts), self.split[1], rows, *self.spatial[1:])
        self.count = len(shifts) * self.split[1]

    def read(self, sample: Tensor, start: int) -> Tensor:
        """Fill the buffer from a sample (S*K, *spatial) and give it as (S, shifts * K, L)."""
        sample = sample.unflatten(0, self.split)
        for index, shift in enumerate(self.shifts):
            here, there = self._windows(shift, start)
            copy = self.values[:, index]
            copy[here] = sample[there]
            if here[1].start > 0:  # the zeros beyond the other axes are as before
                copy[:, :, : here[1].start] = 0
            if here[1].stop < self.rows:
                copy[:, :, here[1].stop :] = 0
        return self.values.view(self.split[0], self.count, -1)

    def add_back(self, values: Tensor, total: Tensor, start: int) -> None:
        """Add the gradient of the copies to that of the sample, (S*K, *spatial)."""
        total = total.unflatten(0, self.split)
        for index, shift in enumerate(self.shifts):
            here, there = self._windows(shift, start)
            total[there] += values[:, index][here]

    def _windows(self, shift: Sequence[int], start: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Index into the slab and into the map of the voxels that the shift keeps within the map."""
        here: list[Any] = [...]
        there: list[Any] = [...]
        for axis, (step, side) in enumerate(zip(shift, self.spatial, strict=True)):
            first, stop = (start, start + self.rows) if axis == 0 else (0, side)
            low = min(max(first, -step), stop)
            high = max(min(stop, side - step), low)
            here.append(slice(low - first, high - first))
            there.append(slice(low + step, high + step))
        return tuple(here), tuple(there)
