# SPDX-License-Identifier: Apache-2.0
"""Maps of filled boxes: from index maps, whose values may stand for several classes, to one channel a class and back.

In an index map of boxes a voxel may lie in the boxes of several classes. Such a set of classes has an index of its own
behind those of the K classes: K + its place in a list of sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.drawing import axis_index, checked_label, per_axis, regions

__all__ = [
    "box_channels",
    "box_index",
    "boxes_of",
    "in_boxes",
    "index_of_sets",
    "number_boxes",
    "split_index",
    "visible_index",
]

MOST = UNLABELLED - 1


def index_of_sets(
    values: Mapping[int, int | Sequence[int]], num_classes: int
) -> tuple[dict[int, int], list[tuple[int, ...]]]:
    """Give every set of classes an index.

    Args:
        values: file value -> class index, 255, or the indices of several classes.
        num_classes: K.

    Returns:
        File value -> index, and the sets; set number j has the index K + j.

    Raises:
        ValueError: more sets than a uint8 map has indices.
    """
    table, sets = {}, []
    for value, meaning in values.items():
        if isinstance(meaning, int):
            table[value] = meaning
            continue
        classes = tuple(sorted(set(meaning)))
        if len(classes) == 1:
            table[value] = classes[0]
            continue
        if classes not in sets:
            sets.append(classes)
        table[value] = num_classes + sets.index(classes)
    _check_room(sets, num_classes)
    return table, sets


def split_index(index: np.ndarray, sets: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Find the voxels in the boxes of each class.

    Args:
        index: (*spatial), classes, 255, or indices of sets.
        sets: the sets.
        num_classes: K.

    Returns:
        (K, *spatial), boolean; the channel of the background is what is drawn as such.
    """
    channels = np.stack([index == k for k in range(num_classes)])
    for number, classes in enumerate(sets):
        here = index == num_classes + number
        if here.any():
            channels[list(classes)] |= here
    return channels


def box_index(channels: np.ndarray, sets: list[tuple[int, ...]]) -> np.ndarray:
    """Write channels as one index map.

    Args:
        channels: (K, *spatial), boolean.
        sets: sets that have an index already; grows.

    Returns:
        (*spatial), uint8: the class of a voxel, the index of its set of classes, or 255 where it is in no channel.

    Raises:
        ValueError: more sets than a uint8 map has indices.
    """
    index = np.full(channels.shape[1:], UNLABELLED, np.uint8)
    drawn = channels.any(0)
    if not drawn.any():
        return index
    rows, inverse = np.unique(np.packbits(channels[:, drawn], axis=0).T, axis=0, return_inverse=True)
    codes = []
    for row in np.unpackbits(rows, axis=1, count=len(channels)):
        classes = tuple(np.flatnonzero(row).tolist())
        if len(classes) > 1 and classes not in sets:
            sets.append(classes)
            _check_room(sets, len(channels))
        codes.append(classes[0] if len(classes) == 1 else len(channels) + sets.index(classes))
    index[drawn] = np.array(codes, np.uint8)[inverse.reshape(-1)]
    return index


def visible_index(channels: np.ndarray) -> np.ndarray:
    """Draw channels (K, *spatial) as one class-index map to look at, uint8, the smaller classes on top."""
    index = np.full(channels.shape[1:], UNLABELLED, np.uint8)
    for k in np.argsort(-channels.reshape(len(channels), -1).sum(1), kind="stable"):
        index[channels[k]] = k
    return index


def _check_room(sets: Sequence[Sequence[int]], num_classes: int) -> None:
    if num_classes + len(sets) > MOST + 1:
        raise ValueError(
            f"boxes of {num_classes} classes overlap in {len(sets)} ways, more than a map with values up to {MOST} can "
            "tell apart; leave classes out, or make the boxes smaller"
        )


def number_boxes(inside: np.ndarray, slice_axis: int | None = None) -> np.ndarray:
    """Number the boxes of each class.

    Connected voxels (faces) are one box. What is no full rectangle, since boxes touch or one covers another, is taken
    as its bounding rectangle, again where rectangles then touch.

    Args:
        inside: (K, *spatial), boolean.
        slice_axis: number the boxes of each slice along this spatial axis; None, or two dimensions: of the whole.

    Returns:
        (K, *spatial), uint8: 1..n inside the boxes, 0 outside.

    Raises:
        ValueError: more than 254 boxes of a class.
    """
    numbers = np.zeros(inside.shape, np.uint8)
    for k, mask in enumerate(inside):
        if not mask.any():
            continue
        if slice_axis is None or mask.ndim < 3:
            numbers[k] = _numbered(mask, k)
            continue
        for flat, out in zip(np.moveaxis(mask, slice_axis, 0), np.moveaxis(numbers[k], slice_axis, 0), strict=True):
            if flat.any():
                out[:] = _numbered(flat, k)
    return numbers


def _numbered(mask: np.ndarray, k: int) -> np.ndarray:
    filled, voxels = mask.copy(), -1
    while voxels != (voxels := int(filled.sum())):
        numbers, count = ndimage.label(filled)
        for place in ndimage.find_objects(numbers):
            filled[place] = True
    if count > MOST:
        raise ValueError(f"class {k} has {count} separate boxes, more than {MOST}; draw filled boxes, no points")
    return numbers


def in_boxes(boxes: np.ndarray) -> np.ndarray:
    """Tell where numbered boxes (K, *spatial) are, boolean."""
    return (boxes > 0) & (boxes != UNLABELLED)


def boxes_of(
    label: np.ndarray, classes: Sequence[int] | None, per_component: bool, margin: int | Sequence[int]
) -> list[tuple[int, tuple[slice, ...]]]:
    """List class and place of the bounding box of each class, or each component, of a dense label.

    Args:
        label: dense class indices, (*spatial).
        classes: class indices, every foreground class that is present by default.
        per_component: one box for each connected component (diagonal neighbours are connected).
        margin: voxels added to each side, one number or one an axis; boxes are clipped by the image.
    """
    wide = per_axis("margin", margin, label.ndim)
    boxes = []
    for index, region in regions(label, classes, False, per_component):
        where = np.argwhere(region)
        low, high = np.maximum(where.min(0) - wide, 0), np.minimum(where.max(0) + wide + 1, label.shape)
        boxes.append((index, tuple(slice(a, b) for a, b in zip(low, high, strict=True))))
    return boxes


def box_channels(
    label: np.ndarray,
    num_classes: int,
    slice_axis: int | None = None,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    margin: int | Sequence[int] = 0,
) -> np.ndarray:
    """Fill the bounding boxes of each class of a dense label in a channel of its own, so that overlaps stay.

    Args:
        label: dense class indices, (*spatial), 255 where unknown, which no box covers.
        num_classes: K.
        slice_axis: draw in every slice along this axis; None: in the whole.
        classes, per_component, margin: as in ``boxes_of``.
        background: mark the dense background outside of all boxes, in channel 0.

    Returns:
        (K, *spatial), boolean; `box_index` writes it as one map.

    Raises:
        ValueError: a label that is no class-index map, options that do not fit, a box of the background.
    """
    label = checked_label(label)
    if classes is not None and 0 in classes:
        raise ValueError(f"classes must be foreground classes, since the background has no box; got {list(classes)}")
    flat = slice_axis is None or label.ndim < 3
    axis = 0 if flat else axis_index(slice_axis or 0, label.ndim)
    channels = np.zeros((num_classes, *label.shape), bool)
    views = np.moveaxis(channels, axis + 1, 1)
    for number, part in enumerate([label] if flat else np.moveaxis(label, axis, 0)):
        out = channels if flat else views[:, number]
        for index, where in boxes_of(part, classes, per_component, margin):
            out[index][where] = True
    channels &= label != UNLABELLED
    if background:
        channels[0] = (label == 0) & ~channels[1:].any(0)
    return channels
