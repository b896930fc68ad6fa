# SPDX-License-Identifier: Apache-2.0
"""A figure of what mutual information learns: clusters of features under two views, and scores over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from wss_monai.report.figures import STYLE
from wss_monai.report.palette import CLASS_COLOURS, run_colour
from wss_monai.report.panels import display_view

__all__ = ["agreement", "cluster_colours", "cluster_sheet"]

APART = np.array(CLASS_COLOURS[5]) / 255
"""Colour of the cells that the views assign to different clusters."""
WIDE, HIGH, CHART = 2.15, 7.3, 4.9
"""Inches: a column of slices, the figure's height, the chart's width."""


def cluster_colours(clusters: int) -> np.ndarray:
    """Give colours (K, 3) in 0..1 that can be told apart: strong ones, then pale ones, then other hues.

    Raises:
        ValueError: fewer than one cluster.
    """
    if clusters < 1:
        raise ValueError(f"clusters must be 1 or more, got {clusters}.")
    twenty = np.array(matplotlib.colormaps["tab20"].colors)  # type: ignore[attr-defined]
    more = matplotlib.colormaps["hsv"](np.arange(max(clusters - 20, 0)) / max(clusters - 20, 1))[:, :3] * 0.8
    return np.concatenate([twenty[::2], twenty[1::2], more])[:clusters]


def agreement(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Give the share of cells with one cluster in both maps, and the share that would be if places did not matter.

    Args:
        first: clusters, any shape.
        second: of the same shape.
    """
    most = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(values.reshape(-1), minlength=most) / values.size for values in (first, second)]
    return float((first == second).mean()), float((shares[0] * shares[1]).sum())


def cluster_sheet(
    views: tuple[Tensor, Tensor],
    assignments: Mapping[str, tuple[Tensor, Tensor]],
    scores: Mapping[str, np.ndarray],
    *,
    score: str = "Dice",
    moved: str = "second view",
    spacing: Sequence[float] = (1.0, 1.0),
    affine: np.ndarray | None = None,
    slice_axis: int = 2,
) -> Figure:
    """Draw a slice and its clusters under two views at the left, and scores over the epochs at the right.

    Each feature has a column: the clusters of the first view, moved as the second view was, so that both lie in one
    frame; those of the second view, in the same colours; and the second view in grey, with the cells coloured whose
    clusters differ. A cell belongs to the most probable cluster of the head. Slices are turned as radiologists read
    them; the letters on the first view say which side is which.

    Args:
        views: the slice (H, W) as it is, and as the network sees it in the second view.
        assignments: name of a local feature -> probabilities (K, h, w) of one head: those of the first view, moved,
            and those of the second one.
        scores: name of a run -> (N, 2) of epoch and score.
        score: what the scores are.
        moved: title of the second view, such as "second view: left and right swapped".
        spacing: mm of a pixel along each axis of a slice.
        affine: voxel to RAS+ mm (4, 4) of the volume; None shows the axes as they are stored.
        slice_axis: array axis across its slices.

    Raises:
        ValueError: no feature, no scores, or shapes that do not fit.
    """
    _check(views, assignments, scores, spacing)
    view = display_view(affine, slice_axis)

    def turned(values: Tensor) -> np.ndarray:
        return view.slice_of(np.expand_dims(values.detach().cpu().float().numpy(), slice_axis), 0)

    greys = [turned(values) for values in views]
    down, across = spacing if view.row_axis < view.column_axis else tuple(spacing)[::-1]
    frame: dict[str, Any] = {"extent": (0, greys[0].shape[1] * across, greys[0].shape[0] * down, 0)}
    columns = 1 + len(assignments)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(WIDE * columns + CHART, HIGH), layout="constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(WIDE * columns, CHART))
        left, right = parts
        panels = left.subplots(3, columns)
        for axis in panels.flat:
            axis.set_axis_off()
        for axis, grey, title in zip(panels[:2, 0], greys, ("first view: the slice", moved), strict=True):
            _grey(axis, grey, frame)
            axis.set_title(title)
        _letters(panels[0, 0], view.edges)
        for column, (name, (first, second)) in zip(panels.T[1:], assignments.items(), strict=True):
            _feature(column, name, greys[1], (turned(first.argmax(0)), turned(second.argmax(0))), len(first), frame)
        _key(panels[2, 0], max(len(first) for first, _ in assignments.values()))
        _curves(right.subplots(), scores, score)
    return figure


def _check(
    views: tuple[Tensor, Tensor],
    assignments: Mapping[str, tuple[Tensor, Tensor]],
    scores: Mapping[str, np.ndarray],
    spacing: Sequence[float],
) -> None:
    """Refuse what does not fit.

    Raises:
        ValueError: see ``cluster_sheet``.
    """
    shapes = [tuple(values.shape) for values in views]
    if len(shapes) != 2 or len(shapes[0]) != 2 or shapes[0] != shapes[1]:
        raise ValueError(f"views must be two slices (H, W) of one shape, got {shapes}.")
    if len(spacing) != 2 or min(spacing) <= 0:
        raise ValueError(f"spacing must be two numbers of mm above 0, got {spacing}.")
    if not assignments:
        raise ValueError("assignments must hold a local feature at least; it is empty.")
    for name, pair in assignments.items():
        sizes = [tuple(values.shape) for values in pair]
        if len(sizes) != 2 or len(sizes[0]) != 3 or sizes[0] != sizes[1]:
            raise ValueError(f"assignments['{name}'] must be two tensors (K, h, w) of one shape, got {sizes}.")
    if not scores:
        raise ValueError("scores must hold a run at least; it is empty.")
    for name, points in scores.items():
        if np.ndim(points) != 2 or np.shape(points)[1] != 2 or not len(points):
            raise ValueError(f"scores['{name}'] must be (N, 2) of epoch and score, got {np.shape(points)}.")


def _grey(axis: Axes, plane: np.ndarray, frame: dict[str, Any]) -> None:
    low, high = np.percentile(plane, (0.5, 99.5))
    axis.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear", **frame)


def _letters(axis: Axes, edges: tuple[str, str]) -> None:
    """The anatomical letters of the (left, top) edges."""
    rim = [withStroke(linewidth=2, foreground="black")]
    style: dict[str, Any] = {"color": "white", "path_effects": rim, "transform": axis.transAxes}
    axis.text(0.03, 0.5, edges[0], ha="left", va="center", **style)
    axis.text(0.5, 0.97, edges[1], ha="center", va="top", **style)


def _feature(
    axes: Sequence[Axes],
    name: str,
    grey: np.ndarray,
    maps: tuple[np.ndarray, np.ndarray],
    clusters: int,
    frame: dict[str, Any],
) -> None:
    """A column: both maps, and the second view with the cells coloured that differ."""
    first, second = (values.astype(int) for values in maps)
    colours = cluster_colours(clusters)
    height, width = first.shape
    for axis, clustered in zip(axes[:2], (first, second), strict=True):
        axis.imshow(colours[clustered], interpolation="nearest", **frame)
    axes[0].set_title(f"{_broken(name)}\n{height} x {width} cells\nfirst view, moved")
    axes[1].set_title("second view")
    _grey(axes[2], grey, frame)
    cover = np.zeros((height, width, 4))
    cover[first != second] = (*APART, 0.75)
    axes[2].imshow(cover, interpolation="nearest", **frame)
    same, chance = agreement(first, second)
    axes[2].set_title(f"{100 * same:.0f} % agree\nby chance {100 * chance:.0f} %")


def _broken(name: str, letters: int = 24) -> str:
    """A dotted name on lines of so many letters, where it has dots."""
    lines = [""]
    for part in name.replace(".", ". ").split():
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _key(axis: Axes, clusters: int) -> None:
    """What the colours mean."""
    patches = [Patch(color=colour, label=str(k + 1)) for k, colour in enumerate(cluster_colours(clusters))]
    same: dict[str, Any] = {"frameon": False, "borderpad": 0, "borderaxespad": 0, "handlelength": 1.2}
    columns = -(-clusters // 5)
    key = axis.legend(handles=patches, ncols=columns, title="cluster", loc="upper left", alignment="left", **same)
    axis.add_artist(key)
    axis.legend(handles=[Patch(color=(*APART, 0.75), label="the views differ")], loc="lower left", **same)


def _curves(axis: Axes, scores: Mapping[str, np.ndarray], score: str) -> None:
    axis.grid(True)
    for i, (name, points) in enumerate(scores.items()):
        marker = "o" if len(points) <= 25 else ""
        axis.plot(*np.asarray(points).T, color=run_colour(i), linewidth=1.8, marker=marker, markersize=3.5, label=name)
    axis.set_title(score)
    if all(np.asarray(points)[:, 1].min() >= 0 for points in scores.values()):
        axis.set_ylim(bottom=0.0)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=3, frameon=False)
