# SPDX-License-Identifier: Apache-2.0
"""Cues from what a tag classifier looks at: class activation maps, a saliency map, and the masks read off them.

Source: Kolesnikov and Lampert, Seed, Expand and Constrain, ECCV 2016, and its code; the body mask, the share of air and
images without any class are additions for medical images, where the least salient voxels of a slice are air.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from wss_monai.functional import UNLABELLED

RULES = ("smaller", "drop")


def activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Class activation maps: the features summed with the weights of a linear layer that stands on their mean.

    Args:
        features: (B, F, *grid).
        weight: (N, F).

    Returns:
        (B, N, *grid).
    """
    return torch.einsum("bf...,nf->bn...", features, weight)


def gradient_saliency(features: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """How strongly the classes, all of them summed, depend on each place: the largest absolute gradient of a channel.

    Args:
        features: intermediate features (B, F, *grid); no gradient goes beyond them.
        head: makes the logits (B, N) of them; no sample may change another's (a network in evaluation mode).

    Returns:
        (B, 1, *grid), at least 0.
    """
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(head(leaf).sum(), leaf)
    return gradient.abs().amax(1, keepdim=True)


def maps_on_grid(maps: Tensor, shape: Sequence[int], stride: int | None = None) -> Tensor:
    """Carry maps linearly to the finer grid of the image.

    Args:
        maps: (B, N, *grid).
        shape: of the image's grid.
        stride: cell i of the maps is centred on voxel ``stride`` i, as after convolutions that start at the first
            voxel; voxels beyond the last centre take its value. None: the cells divide the image evenly.

    Returns:
        (B, N, *shape).

    Raises:
        ValueError: ``stride`` does not fit the two grids.
    """
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    if stride is None:
        return F.interpolate(maps, size=list(shape), mode=mode, align_corners=False)
    spans = [stride * (count - 1) + 1 for count in maps.shape[2:]]
    rest = [size - span for size, span in zip(shape, spans, strict=True)]
    if not all(0 <= more < stride for more in rest):
        raise ValueError(f"maps of {tuple(maps.shape[2:])} cells, {stride} voxels apart, do not cover {tuple(shape)}.")
    fine = F.interpolate(maps, size=spans, mode=mode, align_corners=True)
    return F.pad(fine, [side for more in reversed(rest) for side in (0, more)], mode="replicate")


def foreground_cues(
    maps: np.ndarray, tags: Sequence[int] | np.ndarray, fraction: float | Sequence[float] = 0.2, minimum: int = 1
) -> np.ndarray:
    """Where the map of a class that is there is above a fraction of its maximum.

    Args:
        maps: (K - 1, *spatial), of the classes without background.
        tags: (K,) in {1 present, 0 absent, -1 unknown}, background first.
        fraction: of the maximum; one number, or one a class.
        minimum: voxels that a class gets at least, the highest ones, where so many are above 0.

    Returns:
        Boolean, (K - 1, *spatial); nothing for a class that is not tagged present or whose map is nowhere above 0.

    Raises:
        ValueError: shapes that do not fit, or numbers out of range.
    """
    tags = np.asarray(tags)
    if tags.shape != (len(maps) + 1,):
        raise ValueError(f"tags must be {len(maps) + 1} numbers, background first, for {len(maps)} maps; got {tags}.")
    each = np.full(len(maps), fraction) if np.ndim(fraction) == 0 else np.asarray(fraction)
    fractions = [float(part) for part in each]
    if len(fractions) != len(maps) or not all(0 <= part < 1 for part in fractions):
        raise ValueError(f"fraction must be one number in [0, 1), or one for each of {len(maps)} maps; got {fraction}.")
    if minimum < 0:
        raise ValueError(f"minimum must be 0 or more, got {minimum}.")
    found = np.zeros(maps.shape, dtype=bool)
    for seeds, values, tag, part in zip(found, maps, tags[1:], fractions, strict=True):
        if tag != 1 or not values.max() > 0:
            continue
        seeds[:] = values > part * values.max()
        if seeds.sum() < minimum:
            order = np.argsort(-values, axis=None, kind="stable")[:minimum]
            seeds.flat[order[values.flat[order] > 0]] = True
    return found


def background_cues(
    saliency: np.ndarray,
    fraction: float = 0.1,
    mask: np.ndarray | None = None,
    air: float = 0.1,
    median: int = 3,
) -> np.ndarray:
    """The least salient voxels of the body, and a few of the air around it.

    Of the n voxels of the mask those whose saliency is below the value of rank int(fraction n): where many share
    that value there are fewer, as in the published code.

    Args:
        saliency: (*spatial).
        fraction: of the voxels of the mask.
        mask: the body, boolean (*spatial); None: everywhere.
        air: voxels outside of the mask, as a fraction of those found in it; spread evenly.
        median: width of the median filter along each axis; 1: none.

    Returns:
        Boolean, (*spatial).

    Raises:
        ValueError: shapes that do not fit, or numbers out of range.
    """
    if not 0 <= fraction <= 1 or air < 0 or median < 1:
        raise ValueError(
            f"fraction must lie in [0, 1], air be 0 or more, median 1 or more; got {fraction}, {air}, {median}."
        )
    mask = _mask_like(saliency, mask)
    smooth = ndimage.median_filter(saliency, size=median, mode="nearest") if median > 1 else saliency
    inside = np.sort(smooth[mask])
    rank = int(fraction * len(inside))
    found = mask & (smooth < inside[rank]) if rank < len(inside) else mask.copy()
    return found | some_outside(mask, int(air * found.sum()))


def some_outside(mask: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` voxels outside of a mask (*spatial), spread evenly over them in the order of the array."""
    outside = np.flatnonzero(~mask)
    found = np.zeros(mask.shape, dtype=bool)
    taken = min(count, len(outside))
    found.flat[outside[np.linspace(0, len(outside) - 1, taken).round().astype(int)] if taken else []] = True
    return found


def resolve_conflicts(masks: np.ndarray, rule: str = "smaller") -> np.ndarray:
    """Join the masks of the classes into one map.

    Args:
        masks: boolean, (K, *spatial), background first.
        rule: where several classes claim a voxel, "smaller": that of the smaller area (of two equal ones the higher
            index, so that background yields) takes it, as published; "drop": nobody does.

    Returns:
        Class indices, uint8 (*spatial), 255 where nobody claims the voxel.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {RULES}, got '{rule}'.")
    areas = [int(mask.sum()) for mask in masks]
    index = np.full(masks.shape[1:], UNLABELLED, dtype=np.uint8)
    for k in sorted(range(len(masks)), key=lambda k: (-areas[k], k)):  # the smallest last, over the others
        index[masks[k]] = k
    if rule == "drop":
        index[masks.sum(0) > 1] = UNLABELLED
    return index


def cue_map(
    maps: np.ndarray,
    saliency: np.ndarray,
    tags: Sequence[int] | np.ndarray,
    mask: np.ndarray | None = None,
    *,
    fraction: float | Sequence[float] = 0.2,
    background: float = 0.1,
    air: float = 0.1,
    minimum: int = 1,
    median: int = 3,
    rule: str = "smaller",
) -> np.ndarray:
    """Cues of one image.

    An image all of whose classes are tagged absent is background everywhere in the mask. One of which no tag is known
    has no cues, since nobody said what its maps show; one whose background is tagged absent has none of it.

    Args:
        maps: (K - 1, *spatial), of the classes without background.
        saliency: (*spatial).
        tags: (K,) in {1 present, 0 absent, -1 unknown}, background first.
        mask: the body, boolean (*spatial); None: everywhere.
        fraction, minimum: as in ``foreground_cues``.
        background, air, median: as in ``background_cues``, ``background`` being its fraction.
        rule: as in ``resolve_conflicts``.

    Returns:
        Class indices, uint8 (*spatial), 255 = no cue.

    Raises:
        ValueError: shapes that do not fit, or numbers out of range.
    """
    tags = np.asarray(tags)
    seeds = foreground_cues(maps, tags, fraction, minimum)
    mask = _mask_like(saliency, mask)
    if (tags[1:] == 0).all():
        rest = mask | some_outside(mask, int(air * mask.sum()))
    else:
        rest = background_cues(saliency, background, mask, air, median)
    if tags[0] == 0 or (tags[1:] < 0).all():
        rest = np.zeros_like(rest)
    return resolve_conflicts(np.concatenate((rest[None], seeds)), rule)


def body_mask(image: np.ndarray, slice_axis: int | None = None) -> np.ndarray:
    """The body in an image: what is brighter than Otsu's threshold, its largest component, without holes.

    Args:
        image: (C, *spatial); channels are scaled to 0..1 and averaged.
        slice_axis: fill the holes of each slice along this spatial axis, as lungs are in a slice but not in a volume
            that cuts them; None: those of the whole image.

    Returns:
        Boolean, (*spatial); everywhere where the image is constant.
    """
    axes = tuple(range(1, image.ndim))
    low, high = image.min(axis=axes, keepdims=True), image.max(axis=axes, keepdims=True)
    grey = ((image - low) / np.where(high > low, high - low, 1)).mean(0)
    if grey.min() == grey.max():
        return np.ones(grey.shape, dtype=bool)
    parts, count = ndimage.label(grey > threshold_otsu(grey.ravel()))
    if count == 0:
        return np.ones(grey.shape, dtype=bool)
    body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    if slice_axis is None or body.ndim < 3:
        return ndimage.binary_fill_holes(body)
    planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(body, slice_axis, 0)]
    return np.moveaxis(np.stack(planes), 0, slice_axis)


def _mask_like(saliency: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return np.ones(saliency.shape, dtype=bool)
    if mask.shape != saliency.shape:
        raise ValueError(f"mask must have the saliency's shape {saliency.shape}, got {mask.shape}.")
    return mask.astype(bool)
