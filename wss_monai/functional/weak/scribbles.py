# SPDX-License-Identifier: Apache-2.0
"""Scribbles made from dense labels: curves along the middle of an organ and just inside its border.

Inside, a curve is the longest path through the skeleton of the class (a ring is opened at a random place), smoothed,
prolonged at its ends (the skeleton of a round organ is hardly more than a point), shortened, and bent at random as far
as the room around it allows. In a 2D label a curve lies in the image; in a 3D label it runs through the volume, except
that a border curve lies in one plane, drawn among those across any axis with a chance in proportion to the squared area
of the class there. Use ``weak_labels.slicewise`` for a curve in every slice.

``label``, ``R``, ``classes``, ``background`` and ``per_component`` are described in ``weak_labels``; without
``per_component`` a class gets one curve, in its largest component. Every class that is present gets at least one voxel.
The idea follows K. Gotkowski et al., Embarrassingly simple scribble supervision for 3D medical segmentation
(arXiv 2403.12834), which draws an interior and a border scribble.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from skimage.draw import line_nd
from skimage.measure import find_contours
from skimage.morphology import skeletonize

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.drawing import draw, ellipsoid

__all__ = ["scribble", "scribble_border", "scribble_interior"]

STEP = 0.5
"""Distance in voxels between the points of a curve."""
SMOOTH = 2.0
"""Width in voxels of the filter that takes the staircase out of a curve."""
MARGIN = 0.4
"""A curve is prolonged to where the depth falls below this fraction of the largest."""


def scribble_interior(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    width: int = 1,
    length: float | tuple[float, float] = (0.7, 1.0),
    deform: float = 0.5,
) -> np.ndarray:
    """Draw a curve along the middle of each class.

    Args:
        label: see the module, as are the arguments that are not described here.
        width: thickness in voxels, an odd number.
        length: part of the whole curve that is drawn, in (0, 1]; a pair is a range to draw from.
        deform: how far the curve strays from the middle, as a fraction of the room there; 0 to 1.
    """
    low, high = _length(length)
    brush = _brush(width, np.ndim(label))
    if not 0 <= deform <= 1:
        raise ValueError(f"deform must lie in 0..1, got {deform}")

    def curve(region: np.ndarray) -> np.ndarray:
        depth, corner = _depth(region)
        skeleton = skeletonize(depth > 0)
        path = _smooth(_longest_path(skeleton if skeleton.any() else depth == depth.max(), R))
        path = _part(_prolong(path, depth, R), R.uniform(low, high), R)
        return _bend(path, depth, deform, R) + corner

    return _draw_curves(label, curve, brush, classes, background, per_component)


def scribble_border(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    width: int = 1,
    length: float | tuple[float, float] = (0.3, 0.7),
    inset: int = 1,
) -> np.ndarray:
    """Draw a part of a curve that follows the border of each class on its inside.

    Where a class has several borders (a ring), one is drawn, with a chance in proportion to its length. The edge of the
    image is no border, unless the class fills the image.

    Args:
        label: see the module, as are the arguments that are not described here.
        width: thickness in voxels, an odd number.
        length: part of the whole border that is drawn, in (0, 1]; a pair is a range to draw from.
        inset: voxels left free between the curve and the border; as many as fit where the class is thinner.
    """
    low, high = _length(length)
    brush = _brush(width, np.ndim(label))
    if inset < 0:
        raise ValueError(f"inset must be 0 or more voxels, got {inset}")

    def curve(region: np.ndarray) -> np.ndarray:
        if region.ndim == 2:
            return _part(_border(region, inset, R), R.uniform(low, high), R)
        areas = [region.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        weight = np.square(np.concatenate(areas), dtype=float)
        chosen = R.choice(len(weight), p=weight / weight.sum())
        axis, plane = [(axis, plane) for axis in range(3) for plane in range(region.shape[axis])][chosen]
        flat = _part(_border(region.take(plane, axis), inset, R), R.uniform(low, high), R)
        return np.insert(flat, axis, plane, axis=1)

    return _draw_curves(label, curve, brush, classes, background, per_component)


def scribble(
    label: np.ndarray,
    R: np.random.RandomState,
    *,
    classes: Sequence[int] | None = None,
    background: bool = False,
    per_component: bool = False,
    width: int = 1,
) -> np.ndarray:
    """Draw both an interior and a border scribble of each class, with their default lengths.

    Args:
        label: see the module, as are the arguments that are not described here.
        width: thickness in voxels, an odd number.
    """
    inside = scribble_interior(
        label, R, classes=classes, background=background, per_component=per_component, width=width
    )
    border = scribble_border(label, R, classes=classes, background=background, per_component=per_component, width=width)
    return np.where(inside == UNLABELLED, border, inside)


def _draw_curves(
    label: np.ndarray,
    curve: Callable[[np.ndarray], np.ndarray],
    brush: np.ndarray,
    classes: Sequence[int] | None,
    background: bool,
    per_component: bool,
) -> np.ndarray:
    """Draw ``curve(region)``, a path of points (N, dims), in the largest component of each region."""

    def mark(region: np.ndarray) -> np.ndarray:
        parts, count = ndimage.label(region, np.ones((3,) * region.ndim))
        if count > 1:
            region = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        line = _rasterise(curve(region), region.shape)
        if brush.size > 1:
            line = ndimage.binary_dilation(line, brush)
        line &= region
        if not line.any():
            depth, corner = _depth(region)
            line[tuple(np.array(np.unravel_index(np.argmax(depth), depth.shape)) + corner)] = True
        return line

    return draw(label, mark, classes=classes, background=background, per_component=per_component)


def _depth(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance to the outside in the region's bounding box, one voxel wider, and that box's corner."""
    window = ndimage.find_objects(region.astype(np.uint8))[0]
    return ndimage.distance_transform_edt(np.pad(region[window], 1)), np.array([s.start - 1 for s in window])


def _border(region: np.ndarray, inset: int, R: np.random.RandomState) -> np.ndarray:
    """Return one of the closed or open curves at the depth ``inset`` below the border of a 2D region."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1, mode="constant" if region.all() else "edge"))
    loops = find_contours(depth, min(inset + 1, depth.max() - 0.5))
    lengths = np.array([_lengths(loop).sum() for loop in loops])
    loop = loops[R.choice(len(loops), p=lengths / lengths.sum())]
    return _smooth(loop) - 1


def _longest_path(skeleton: np.ndarray, R: np.random.RandomState) -> np.ndarray:
    """Return the longest path in a tree that spans the skeleton, as ordered voxels (N, dims).

    The tree grows from a random voxel by shortest distance, so that a closed ring is cut opposite to it.
    """
    voxels = np.argwhere(skeleton)
    pairs = cKDTree(voxels).query_pairs(np.sqrt(skeleton.ndim) + 0.01, output_type="ndarray")
    graph = _graph(pairs, np.linalg.norm(voxels[pairs[:, 0]] - voxels[pairs[:, 1]], axis=1), len(voxels))
    reach, parent = dijkstra(graph, directed=False, indices=R.randint(len(voxels)), return_predecessors=True)
    child = np.flatnonzero(parent >= 0)
    edges = np.stack([child, parent[child]], axis=1)
    tree = _graph(edges, reach[child] - reach[parent[child]], len(voxels))
    first = int(np.argmax(np.where(np.isfinite(reach), reach, -1)))
    reach, parent = dijkstra(tree, directed=False, indices=first, return_predecessors=True)
    path = [int(np.argmax(np.where(np.isfinite(reach), reach, -1)))]
    while path[-1] != first:
        path.append(int(parent[path[-1]]))
    return voxels[path].astype(float)


def _graph(edges: np.ndarray, weights: np.ndarray, size: int) -> coo_array:
    return coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(size, size)).tocsr()


def _lengths(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=0), axis=1)


def _is_closed(path: np.ndarray) -> bool:
    return len(path) > 2 and bool(np.linalg.norm(path[0] - path[-1]) <= STEP)


def _smooth(path: np.ndarray) -> np.ndarray:
    """Return the path with points ``STEP`` apart and without its staircase."""
    along = np.concatenate([[0.0], np.cumsum(_lengths(path))])
    places = np.linspace(0, along[-1], int(along[-1] / STEP) + 1)
    even = np.stack([np.interp(places, along, coordinate) for coordinate in path.T], axis=1)
    return ndimage.gaussian_filter1d(even, SMOOTH / STEP, axis=0, mode="wrap" if _is_closed(path) else "nearest")


def _prolong(path: np.ndarray, depth: np.ndarray, R: np.random.RandomState) -> np.ndarray:
    """Lengthen the path straight on at both ends, unless it goes around a ring."""
    room = depth.max()
    if np.linalg.norm(path[-1] - path[0]) < 2 * room < _lengths(path).sum():
        return path
    chance, reach = R.randn(depth.ndim), int(room / STEP) + 1
    ahead = _direction(path[-1] - path[-reach:][0], chance)
    for direction in (ahead, _direction(path[0] - path[:reach][-1], -ahead)):
        while _at(depth, path[-1:] + STEP * direction)[0] > MARGIN * room:
            path = np.concatenate([path, path[-1:] + STEP * direction])
        path = path[::-1]
    return path


def _direction(vector: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    if np.linalg.norm(vector) < 1:
        vector = otherwise
    return vector / np.linalg.norm(vector)


def _part(path: np.ndarray, fraction: float, R: np.random.RandomState) -> np.ndarray:
    """Return a stretch of the path that starts at a random place."""
    count = max(round(fraction * len(path)), 1)
    if _is_closed(path):
        return np.roll(path, -R.randint(len(path)), axis=0)[:count]
    start = R.randint(len(path) - count + 1)
    return path[start : start + count]


def _bend(path: np.ndarray, depth: np.ndarray, deform: float, R: np.random.RandomState) -> np.ndarray:
    """Move the points by a smooth random curve, at most by ``deform`` times the room to the border at each point."""
    noise = ndimage.gaussian_filter1d(R.randn(*path.shape), max(depth.max() / 2, SMOOTH) / STEP, axis=0, mode="reflect")
    noise /= max(np.linalg.norm(noise, axis=1).max(), 1e-12)
    room = np.maximum(_at(depth, path) - 1, 0)
    return _smooth(path + deform * room[:, None] * noise)


def _at(depth: np.ndarray, path: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(depth, path.T, order=1, mode="constant", cval=0.0)


def _rasterise(path: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask of a curve one voxel wide: voxels that only make a corner are left out."""
    voxels = np.rint(path).astype(int)
    voxels = voxels[np.concatenate([[True], (np.diff(voxels, axis=0) != 0).any(1)])]
    rows = voxels.tolist()
    thin = rows[:1]
    for here, ahead in pairwise(rows[1:]):
        if not _touch(ahead, thin[-1]):
            thin.append(here)
    thin += rows[1:][-1:]
    gaps = [pair for pair in pairwise(thin) if not _touch(*pair)]  # a line between neighbours is the two of them
    steps = [np.stack(line_nd(start, stop, endpoint=True), axis=1) for start, stop in gaps]
    mask = np.zeros(shape, bool)
    mask[tuple(np.clip(np.concatenate([thin, *steps]), 0, np.array(shape) - 1).T)] = True
    return mask


def _touch(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two voxels are one or neighbours, corners included."""
    return all(-1 <= x - y <= 1 for x, y in zip(a, b, strict=True))


def _brush(width: int, dims: int) -> np.ndarray:
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width must be an odd number of voxels, got {width}")
    return ellipsoid([width // 2] * dims)


def _length(length: float | tuple[float, float]) -> tuple[float, float]:
    low, high = np.broadcast_to(np.asarray(length, float), (2,)).tolist()
    if not 0 < low <= high <= 1:
        raise ValueError(f"length must be a fraction in (0, 1] or a rising pair of them, got {length}")
    return low, high
