# SPDX-License-Identifier: Apache-2.0
"""Weak labels made from dense ones: blobs, erosion, boxes, points, sparse slices, and image tags.

Every generator takes a dense class-index map of two or three dimensions (the array's own dimension decides whether
it draws areas or volumes) and returns a uint8 map of the same shape in which 255 means unlabelled. Voxels that are 255
in the dense label are unknown and are never drawn on, and, boxes apart, no voxel gets a class that the dense label does
not have there. A class that is not in the dense label is simply not in the weak one. Curves are in ``scribbles``.

Shared arguments:
    label: dense class indices, shape ``(*spatial)`` with two or three axes.
    R: source of randomness; needed by the generators that draw at random.
    classes: class indices to draw, by default every foreground class that is present.
    background: draw class 0 as well, in the same way.
    per_component: draw in each connected component (diagonal neighbours are connected) instead of once a class.

The strategies of 2D slices follow H. Kervadec et al., Constrained-CNN losses for weakly supervised segmentation,
Medical Image Analysis 54 (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import boxes_of
from wss_monai.functional.weak.drawing import (
    axis_index,
    checked_label,
    chosen_classes,
    draw,
    ellipsoid,
    per_axis,
    stamp,
)

__all__ = [
    "box",
    "centroid_blob",
    "erosion",
    "points",
    "present_classes",
    "random_blob",
    "slicewise",
    "sparse_slices",
]


def random_blob(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    width: int | Sequence[int] = 4,
) -> np.ndarray:
    """Draw one ellipse around a uniformly drawn voxel of each class, clipped by the class.

    Args:
        label: see the module, as are the arguments that are not described here.
        width: full width in voxels, one or one an axis; the half-width is ``width // 2`` (4: a disc of 21 pixels).
    """
    half = per_axis("width", width, np.ndim(label)) // 2

    def mark(region: np.ndarray) -> np.ndarray:
        inside = np.argwhere(region)
        return stamp(region.shape, [inside[R.randint(len(inside))]], half)

    return draw(label, mark, classes=classes, background=background, per_component=per_component)


def centroid_blob(
    label: np.ndarray,
    R: np.random.RandomState | None = None,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    width: int | Sequence[int] = 4,
    jitter: int = 0,
    truncated: bool = False,
) -> np.ndarray:
    """Draw one ellipse at the rounded centroid of each class, clipped by the class.

    Where that leaves nothing (a ring, a crescent), the whole class is kept, as in the published strategy.

    Args:
        label: see the module, as are the arguments that are not described here.
        R: see the module; needed with ``jitter`` only.
        width: full width in voxels, one or one an axis; the half-width is ``width // 2``.
        jitter: the centre is moved along each axis by a whole number drawn from -jitter..jitter.
        truncated: the centroid is cut to whole voxels towards 0 in place of rounded, as in the published code.
    """
    half = per_axis("width", width, np.ndim(label)) // 2
    if jitter < 0:
        raise ValueError(f"jitter must be 0 or more voxels, got {jitter}")
    if jitter and R is None:
        raise ValueError("jitter draws at random: pass R=np.random.RandomState(seed)")

    def mark(region: np.ndarray) -> np.ndarray:
        mean = np.asarray(ndimage.center_of_mass(region))
        centre = (np.trunc(mean) if truncated else np.rint(mean)).astype(int)
        if jitter and R is not None:
            centre = centre + R.randint(-jitter, jitter + 1, size=region.ndim)
        blob = stamp(region.shape, [centre], half) & region
        return blob if blob.any() else region

    return draw(label, mark, classes=classes, background=background, per_component=per_component)


def erosion(
    label: np.ndarray,
    R: np.random.RandomState | None = None,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    iterations: int = 10,
) -> np.ndarray:
    """Erode each class as often as leaves something, at most ``iterations`` times; a class that would vanish is kept.

    The element is the full 3 x 3 (x 3) cube, and what lies outside the image counts as outside the class.

    Args:
        label: see the module, as are the arguments that are not described here.
        R: not used, so that all generators are called alike.
        iterations: largest number of erosions.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")

    def mark(region: np.ndarray) -> np.ndarray:
        kept, element = region, np.ones((3,) * region.ndim, bool)
        for _ in range(iterations):
            smaller = ndimage.binary_erosion(kept, element)
            if not smaller.any():
                break
            kept = smaller
        return kept

    return draw(label, mark, classes=classes, background=background, per_component=per_component)


def box(
    label: np.ndarray,
    R: np.random.RandomState | None = None,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    margin: int | Sequence[int] = 0,
) -> np.ndarray:
    """Fill the bounding box of each class, widened by ``margin`` voxels a side and clipped by the image.

    The inside of a box over-estimates the class: it is meant for bounds on boxes, not for cross-entropy. A voxel has
    one class here; where boxes overlap, a later one does not overwrite an earlier one. They come in the order of
    ``classes`` where given, else the smallest first, so that an organ inside another keeps its own box. For all classes
    of a voxel see ``wss_monai.functional.weak.box_maps.box_channels``.

    Args:
        label: see the module, as are the arguments that are not described here.
        R: not used, so that all generators are called alike.
        classes: see the module; their order decides which box wins.
        background: mark as 0 the dense background outside all boxes.
        per_component: see the module; one box a component.
        margin: voxels added to each side, one number or one an axis.
    """
    label = checked_label(label)
    boxes = boxes_of(label, classes, per_component, margin)
    if classes is None:
        boxes.sort(key=lambda item: int(np.prod([s.stop - s.start for s in item[1]])))
    weak = np.full(label.shape, UNLABELLED, np.uint8)
    for index, where_box in boxes:
        inside = weak[where_box]
        inside[(inside == UNLABELLED) & (label[where_box] != UNLABELLED)] = index
    if background:
        weak[(weak == UNLABELLED) & (label == 0)] = 0
    return weak


def points(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    number: int = 1,
    radius: int | Sequence[int] = 0,
) -> np.ndarray:
    """Draw ``number`` points, or discs, at random interior places of each class.

    A disc's centre is drawn among the places where it fits into the class, so that it is whole; where it fits nowhere,
    among the deepest voxels, and is clipped by the class. A radius of 2 makes a disc of 21 pixels.

    Args:
        label: see the module, as are the arguments that are not described here.
        number: points a class (or component); fewer where there are fewer places. Discs may overlap.
        radius: radius in voxels, one or one an axis; 0 = single voxels.
    """
    half = per_axis("radius", radius, np.ndim(label))
    if number < 1:
        raise ValueError(f"number must be 1 or more points, got {number}")

    def mark(region: np.ndarray) -> np.ndarray:
        places = np.argwhere(ndimage.binary_erosion(region, ellipsoid(half)) if half.any() else region)
        if not len(places):
            depth = ndimage.distance_transform_edt(np.pad(region, 1))
            places = np.argwhere(depth == depth.max()) - 1
        chosen = R.choice(len(places), size=min(number, len(places)), replace=False)
        return stamp(region.shape, places[chosen], half)

    return draw(label, mark, classes=classes, background=background, per_component=per_component)


def sparse_slices(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = True,
    axis: int = 2,
    every: int | None = None,
    number: int | None = None,
) -> np.ndarray:
    """Keep the dense label of a few slices of a volume and forget the others.

    Args:
        label: dense class indices, shape ``(X, Y, Z)``.
        background: keep the background of the kept slices, which are then dense.
        axis: the axis along which the slices lie.
        every: keep every n-th slice; the first is drawn among the first n.
        number: keep this many slices, drawn among those that show a drawn foreground class (all of them, if fewer).

    Raises:
        ValueError: unless the label has three axes and exactly one of ``every`` and ``number`` is given.
    """
    label = checked_label(label)
    if label.ndim != 3:
        raise ValueError(f"sparse_slices needs a volume with three axes, got shape {label.shape}")
    if (every is None) == (number is None) or any(n is not None and n < 1 for n in (every, number)):
        raise ValueError(f"give either every or number, 1 or more, got every={every} and number={number}")
    axis = axis_index(axis, label.ndim)
    kept = np.isin(label, chosen_classes(label, classes, background))
    if every is not None:
        slices = every_nth(label.shape[axis], every, R)
    else:
        other = tuple(a for a in range(3) if a != axis)
        shown = np.flatnonzero((kept & (label > 0)).any(axis=other))
        slices = R.choice(shown, size=min(number or 0, len(shown)), replace=False)
    here = np.zeros(label.shape[axis], bool)
    here[slices] = True
    kept &= here.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.where(kept, label, UNLABELLED).astype(np.uint8)


def every_nth(length: int, every: int, R: np.random.RandomState) -> np.ndarray:
    """Choose every n-th of the slices 0 to ``length`` - 1; the first one is drawn among the first n.

    Raises:
        ValueError: ``every`` is less than 1.
    """
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every}")
    return np.arange(R.randint(min(every, length)), length, every)


def slicewise(
    generator: Callable[..., np.ndarray],
    label: np.ndarray,
    axis: int,
    R: np.random.RandomState | None = None,
    **options: Any,
) -> np.ndarray:
    """Apply a generator to every 2D slice of a volume along ``axis``, with the same options.

    Returns:
        The weak label of the volume, uint8, shape of ``label``.
    """
    label = np.asarray(label)
    if label.ndim != 3:
        raise ValueError(f"slicewise needs a volume with three axes, got shape {label.shape}")
    axis = axis_index(axis, 3)
    return np.stack([generator(flat, R, **options) for flat in np.moveaxis(label, axis, 0)], axis=axis)


def present_classes(label: np.ndarray, num_classes: int, slice_axis: int | None = None) -> np.ndarray:
    """Tag the classes that a label map shows.

    Args:
        label: class indices, shape ``(*spatial)``; 255 is no class.
        num_classes: K; the indices are 0..K-1.
        slice_axis: tag each slice along this axis instead of the whole.

    Returns:
        1 where the class is there and 0 where not, int8, shape ``(K,)`` or, by slice, ``(S, K)``.

    Raises:
        ValueError: on an index outside 0..K-1 other than 255.
    """
    label = checked_label(label)
    wrong = sorted(set(np.unique(label).tolist()) - set(range(num_classes)) - {UNLABELLED})
    if wrong:
        raise ValueError(f"label holds {wrong}, but num_classes={num_classes} allows 0..{num_classes - 1} and 255 only")
    rows = (
        label.reshape(1, -1)
        if slice_axis is None
        else np.moveaxis(label, axis_index(slice_axis, label.ndim), 0).reshape(label.shape[slice_axis], -1)
    )
    tags = np.stack([(rows == k).any(axis=1) for k in range(num_classes)], axis=1).astype(np.int8)
    return tags[0] if slice_axis is None else tags
