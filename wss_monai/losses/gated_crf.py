# SPDX-License-Identifier: Apache-2.0
"""Gated CRF loss: near voxels that look alike shall get one class. A local regulariser that needs no label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.functional.cue_maps import block_mean, image_on_grid, mm_steps
from wss_monai.functional.settings import ShownSettings, as_list, check_flags, is_number, per_axis
from wss_monai.functional.wide import wide
from wss_monai.losses.term import probabilities

KERNELS = ({"weight": 1.0, "xy": 6.0, "image": 0.1},)
"""The published kernel: 6 voxels in space, a tenth of the range of the image."""


class GatedCRFLoss(ShownSettings, nn.Module):
    """Pairwise energy of the softmax p within a window about each voxel.

    The sum over all ordered pairs (i, j) of a window, i apart from j, of k_ij d_i s_j (1 - sum over classes p_i p_j)
    (Potts), divided by the sum of d (of s where only s is given): k_ij = sum over kernels of weight
    exp(-|x_i - x_j|^2 / (2 xy^2)) exp(-sum over channels (I_i - I_j)^2 / (2 image^2)). The gates d and s, 1 by default,
    say which voxels are moved by the energy of their neighbours (destination) and which are the neighbours that count
    (source); the gradient is that of the sum, so that it reaches the voxels on both sides of a pair. Pairs that leave
    the image do not count. Memory stays within a few maps of the size of the logits, whatever the window: the pairs are
    visited shift by shift, each pair once, and the gradient is summed on the way (it can be taken once, not twice).

    Source: Obukhov et al., arXiv 1906.04651 (2019); their code adds a constant for the padding outside the image.

    Args:
        kernels: mappings with ``weight`` (default 1) and at least one of ``xy``, width in space (one number or one an
            axis, in voxels of the grid that the loss works on, or in mm with ``mm``), and ``image``, width in intensity
            (one number or one a channel).
        radius: half of the window, in voxels of that grid, one number or one an axis; (2 radius + 1)^D - 1 neighbours.
        stride: 1, or how many voxels (one number or one an axis) of the logits' grid make one of the loss's: softmax
            and image are averaged over such blocks first.
        mm: ``xy`` is in mm: the spacing is required.
        image_key: key of the image in a ``WeightedSumLoss``.
        source_key, destination_key: keys of the gates; None: no gate.

    Raises:
        ValueError: a kernel, radius or stride that makes no sense.
    """

    shown = ("kernels", "radius", "stride", "mm")
    uses_probs = True

    def __init__(
        self,
        kernels: Sequence[Mapping[str, Any]] = KERNELS,
        radius: int | Sequence[int] = 5,
        stride: int | Sequence[int] = 1,
        mm: bool = False,
        image_key: str = "image",
        source_key: str | None = None,
        destination_key: str | None = None,
    ) -> None:
        super().__init__()
        check_flags(mm=mm)
        self.kernels = [_checked(kernel) for kernel in kernels]
        if not self.kernels:
            raise ValueError("kernels is empty: give at least one, such as {weight: 1, xy: 6, image: 0.1}.")
        for name, value, least in (("radius", radius, 0), ("stride", stride, 1)):
            if not all(isinstance(n, int) and n >= least for n in as_list(value)) or not any(as_list(value)):
                raise ValueError(f"{name} must be a whole number of at least 1, or one an axis, got {value!r}.")
        self.radius = radius
        self.stride = stride
        self.mm = mm
        self.target_keys = {"image": image_key, "spacing": "spacing" if mm else "spacing?"}
        if source_key is not None:
            self.target_keys["source"] = source_key
        if destination_key is not None:
            self.target_keys["destination"] = destination_key

    def forward(
        self,
        logits: Tensor,
        image: Tensor,
        *,
        spacing: Tensor | None = None,
        source: Tensor | None = None,
        destination: Tensor | None = None,
        probs: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *spatial).
            image: (B, C, *spatial) in 0 to 1 for the published kernel, on the grid of the logits or on a finer one.
            spacing: (B, D) mm a voxel of the image; read only with ``mm``.
            source, destination: (B, 1, *spatial), on the grid of the logits or on a finer one; a voxel counts where it
                is neither 0 nor 255, a block by the share of its voxels that do.
            probs: softmax of the logits, where it is at hand.

        Raises:
            ValueError: shapes that do not fit, no spacing though ``mm`` is set, or an image with voxels that are not
                finite (on the CPU; on a GPU, which nothing waits for here, the loss is NaN).
        """
        batch, shape = len(logits), logits.shape[2:]
        stride = per_axis("stride", self.stride, len(shape))
        radius = per_axis("radius", self.radius, len(shape))
        p = probabilities(logits, probs)
        p = block_mean(p, stride)
        if image.device.type == "cpu":
            _check_finite(image)  # not below: an error in a graph would leave gradients switched off
        with torch.no_grad():
            for name, given in (("image", image), ("source", source), ("destination", destination)):
                if given is not None and (len(given) != batch or (name != "image" and given.shape[1] != 1)):
                    raise ValueError(
                        f"{name} must be ({batch}, {'C' if name == 'image' else 1}, *spatial) for logits "
                        f"{tuple(logits.shape)}, got {tuple(given.shape)}."
                    )
            seen = block_mean(image_on_grid(wide(image).to(p), shape), stride)
            gates = [
                None if g is None else block_mean(image_on_grid(((g != 0) & (g != UNLABELLED)).to(p), shape), stride)
                for g in (source, destination)
            ]
            steps = seen.new_ones(batch, len(shape))
            if self.mm:
                steps = mm_steps(spacing, image, shape, stride).to(seen)
            kernels = [_in_units(kernel, seen.shape[1], seen) for kernel in self.kernels]
            gate = gates[0] if gates[1] is None else gates[1]
            count = seen.new_tensor(p[:, 0].numel()) if gate is None else gate.sum()
        return _PottsEnergy.apply(p, seen, *gates, steps, kernels, radius) / count.clamp(min=1)


def _check_finite(image: Tensor) -> None:
    """Refuse images with voxels that are not finite."""
    finite, told = image.isfinite().all(), "image holds NaN or infinite voxels; the kernels need finite values."
    if torch.compiler.is_compiling():  # a graph cannot look; it ends with this line
        torch._assert_async(finite, told)
    elif not bool(finite):
        raise ValueError(told)


class _PottsEnergy(torch.autograd.Function):
    """Sum over the pairs; its gradient is the message of the neighbours, summed in the same loop."""

    @staticmethod
    def forward(
        ctx: Any,
        p: Tensor,
        image: Tensor,
        source: Tensor | None,
        destination: Tensor | None,
        steps: Tensor,
        kernels: list[tuple[float, Tensor | None, Tensor | None]],
        radius: Sequence[int],
    ) -> Tensor:
        message, mass = torch.zeros_like(p), p.new_zeros(())
        for shift in _half_window(radius, p.shape[2:]):
            a, b = _two_sides(shift)
            weight = _affinity(image[a], image[b], steps, p.new_tensor(shift), kernels)
            weight = weight * _gate(source, destination, a, b)
            mass += weight.sum()
            message[a].addcmul_(weight, p[b])
            message[b].addcmul_(weight, p[a])
        ctx.save_for_backward(message)
        return mass - 0.5 * (p * message).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the message is a constant here: what is built on it would be wrong in silence
            raise RuntimeError("GatedCRFLoss has no second derivative: leave create_graph out.")
        (message,) = ctx.saved_tensors
        return -grad * message, None, None, None, None, None, None


def _half_window(radius: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """One of each two opposite shifts within the window and the image."""
    reach = [min(r, n - 1) for r, n in zip(radius, shape, strict=True)]
    for shift in itertools.product(*(range(-r, r + 1) for r in reach)):
        if shift > (0,) * len(shift):
            yield shift


def _two_sides(shift: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the voxels that have a neighbour at ``shift``, and of those neighbours."""
    every = slice(None)
    here = (slice(0, -s) if s > 0 else slice(-s, None) for s in shift)
    there = (slice(s, None) if s >= 0 else slice(0, s) for s in shift)
    return (every, every, *here), (every, every, *there)


def _affinity(
    here: Tensor,
    there: Tensor,
    steps: Tensor,
    shift: Tensor,
    kernels: list[tuple[float, Tensor | None, Tensor | None]],
) -> Tensor:
    """Kernel (B, 1, *spatial) of the pairs."""
    total = here.new_zeros(len(here), *[1] * (here.dim() - 1))
    apart = None
    for weight, xy, sigma in kernels:
        exponent = here.new_zeros(len(here)) if xy is None else (steps * shift / xy).square().sum(1)
        exponent = exponent.view(-1, *[1] * (here.dim() - 1))
        if sigma is not None:
            apart = (here - there).square_() if apart is None else apart
            exponent = exponent + (apart / sigma.square().view(-1, *[1] * (here.dim() - 2))).sum(1, keepdim=True)
        total = total + weight * (-0.5 * exponent).exp()
    return total.expand(len(here), 1, *here.shape[2:])


def _gate(
    source: Tensor | None, destination: Tensor | None, a: tuple[slice, ...], b: tuple[slice, ...]
) -> Tensor | float:
    """How often a pair counts: once in each direction that the gates let pass."""
    if source is None and destination is None:
        return 2.0
    if source is None:
        return destination[a] + destination[b]  # type: ignore[index]
    if destination is None:
        return source[a] + source[b]
    return destination[a] * source[b] + destination[b] * source[a]


def _checked(kernel: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a kernel that makes sense."""
    unknown = sorted(set(kernel) - {"weight", "xy", "image"})
    widths = [v for key in ("xy", "image") for v in as_list(kernel.get(key, []))]
    weight = kernel.get("weight", 1.0)
    if unknown or not widths or not all(is_number(v) and v > 0 for v in widths) or not is_number(weight):
        raise ValueError(
            f"a kernel is {{weight, xy, image}} with a finite weight and at least one of the positive widths xy and "
            f"image, got {dict(kernel)!r}."
        )
    return {"weight": float(weight), "xy": kernel.get("xy"), "image": kernel.get("image")}


def _in_units(kernel: Mapping[str, Any], channels: int, like: Tensor) -> tuple[float, Tensor | None, Tensor | None]:
    """Weight, widths (D,) in space and widths (C,) in intensity."""
    xy, sigma = kernel["xy"], kernel["image"]
    return (
        kernel["weight"],
        None if xy is None else like.new_tensor(per_axis("xy", xy, like.dim() - 2)),
        None if sigma is None else like.new_tensor(per_axis("image", sigma, channels, "channels")),
    )
