# SPDX-License-Identifier: Apache-2.0
"""What the generators of weak labels share: regions to draw in, stamps to draw with, and checks of what they are given.

Shared arguments are described in ``weak_labels``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import ndimage

from wss_monai.functional import UNLABELLED

__all__ = ["axis_index", "checked_label", "chosen_classes", "draw", "ellipsoid", "per_axis", "regions", "stamp"]


def draw(
    label: np.ndarray,
    mark: Callable[[np.ndarray], np.ndarray],
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
) -> np.ndarray:
    """Build a weak label from ``mark``, a function from the mask of a class (or component) to the voxels to draw.

    What ``mark`` returns is clipped by the mask. The other arguments are those of the module.
    """
    label = checked_label(label)
    weak = np.full(label.shape, UNLABELLED, np.uint8)
    for index, region in regions(label, classes, background, per_component):
        weak[mark(region) & region] = index
    return weak


def ellipsoid(half: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the mask of an ellipse or ellipsoid, shape ``2 * half + 1``, rounded as a drawn disc is (2: 21 pixels)."""
    half = np.asarray(half)
    grid = np.stack(np.meshgrid(*(np.arange(-h, h + 1) / (h + 0.5) for h in half), indexing="ij"))
    return (grid**2).sum(0) <= 1


def stamp(shape: tuple[int, ...], centres: Sequence[np.ndarray] | np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return a mask with an ellipsoid at each centre; what reaches beyond the image is cut."""
    mask = np.zeros(shape, bool)
    offsets = np.argwhere(ellipsoid(half)) - half
    for centre in centres:
        where = centre + offsets
        where = where[((where >= 0) & (where < shape)).all(1)]
        mask[tuple(where.T)] = True
    return mask


def regions(
    label: np.ndarray, classes: Sequence[int] | None, background: bool, per_component: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (class index, mask) of each class present, or of each of its connected components."""
    for index in chosen_classes(label, classes, background):
        mask = label == index
        if not mask.any():
            continue
        if not per_component:
            yield index, mask
            continue
        parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        for part in range(1, count + 1):
            yield index, parts == part


def chosen_classes(label: np.ndarray, classes: Sequence[int] | None, background: bool) -> list[int]:
    """Return the class indices to draw, in order: those asked for, or every foreground class present."""
    if classes is None:
        foreground = [k for k in np.unique(label).tolist() if k not in (0, UNLABELLED)]
    else:
        foreground = [int(k) for k in classes]
        if len(set(foreground)) < len(foreground) or not all(0 <= k < UNLABELLED for k in foreground):
            raise ValueError(f"classes must be different indices in 0..254, got {list(classes)}")
    return [0, *foreground] if background and 0 not in foreground else foreground


def checked_label(label: np.ndarray) -> np.ndarray:
    """Return the label as uint8, or refuse what is no class-index map."""
    label = np.asarray(label)
    if label.ndim not in (2, 3):
        raise ValueError(f"label must have two or three spatial axes and no channel, got shape {label.shape}")
    whole = label.astype(np.uint8)
    if not np.array_equal(whole, label):
        raise ValueError(
            f"label must hold whole class indices in 0..254, or 255 for unknown, got values from {label.min()} to "
            f"{label.max()} of type {label.dtype}; map the file's values to class indices first"
        )
    return whole


def per_axis(name: str, value: int | Sequence[int], dims: int) -> np.ndarray:
    """Return one whole number >= 0 an axis, shape ``(dims,)``, or refuse the option ``name``."""
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.shape not in ((1,), (dims,)) or (numbers < 0).any() or not np.array_equal(numbers, numbers.astype(int)):
        raise ValueError(f"{name} must be one whole number of voxels >= 0 or one an axis ({dims}), got {value}")
    return np.broadcast_to(numbers.astype(int), (dims,))


def axis_index(axis: int, dims: int) -> int:
    """Return the axis counted from the front, or refuse one that does not exist."""
    if not -dims <= axis < dims:
        raise ValueError(f"axis {axis} does not exist in a label of {dims} axes; use 0..{dims - 1}")
    return axis % dims
