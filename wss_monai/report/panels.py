# SPDX-License-Identifier: Apache-2.0
"""Panels that show slices of one case with its label maps side by side, in true proportions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from wss_monai.functional import UNLABELLED
from wss_monai.report.fonts import font, shortened
from wss_monai.report.palette import DRAWN_BACKGROUND, class_colour, panel_colours

__all__ = [
    "View", "as_volumes", "case_panel", "compose", "crop_box", "display_view", "grey_window", "mark", "outside",
    "shown_slices",
]  # fmt: skip

GAP = 10
INK, PAPER = (31, 41, 55), (255, 255, 255)


@dataclass(frozen=True)
class View:
    """How the slices of a volume are laid on the screen.

    Attributes:
        slice_axis: array axis across the slices.
        row_axis: array axis that runs down the screen.
        column_axis: array axis that runs to the right.
        flip_rows: whether the row axis is turned round.
        flip_columns: whether the column axis is turned round.
        edges: anatomical letters of the (left, top) edges; empty where no affine says.
    """

    slice_axis: int
    row_axis: int
    column_axis: int
    flip_rows: bool = False
    flip_columns: bool = False
    edges: tuple[str, str] = ("", "")

    def slice_of(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Cut slice ``index`` out of a volume (X, Y, Z) and turn it for display: (rows, columns)."""
        plane = np.take(volume, index, axis=self.slice_axis)
        if self.row_axis > self.column_axis:
            plane = plane.T
        return plane[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


def display_view(affine: np.ndarray | None, slice_axis: int = 2) -> View:
    """Lay slices out as radiologists read them.

    To the right runs the patient's right to left (or, in sagittal slices, front to back); down runs front to back (or,
    in sagittal and coronal slices, top to bottom). Oblique axes count as the anatomical axis they are nearest to.

    Args:
        affine: voxel to RAS+ mm (4, 4), as NIfTI has it; None shows the axes as stored, the first to the right.
        slice_axis: array axis across the slices.

    Raises:
        ValueError: if slice_axis is not 0, 1 or 2.
    """
    if slice_axis not in (0, 1, 2):
        raise ValueError(f"slice_axis must be 0, 1 or 2, got {slice_axis}.")
    plane = [axis for axis in range(3) if axis != slice_axis]
    if affine is None:
        return View(slice_axis, row_axis=plane[1], column_axis=plane[0])
    towards = nib.orientations.io_orientation(np.asarray(affine, dtype=float))
    if np.isnan(towards).any():
        raise ValueError(f"affine has an axis without direction: {np.asarray(affine).tolist()}.")
    column, row = sorted(plane, key=lambda axis: towards[axis, 0])
    edges = ("RAS"[int(towards[column, 0])], "RAS"[int(towards[row, 0])])
    return View(slice_axis, row, column, towards[row, 1] > 0, towards[column, 1] > 0, edges)


def shown_slices(maps: Sequence[np.ndarray], slice_axis: int = 2, number: int = 3) -> list[int]:
    """Choose slices from one end of the labelled part to the other (for the heart: base, middle and apex).

    Args:
        maps: class-index volumes (X, Y, Z); the first one that holds any foreground decides.
        slice_axis: array axis across the slices.
        number: how many slices at most.
    """
    other = tuple(axis for axis in range(3) if axis != slice_axis)
    labelled = np.arange(maps[0].shape[slice_axis])
    for volume in maps:
        hit = np.flatnonzero(((volume > 0) & (volume != UNLABELLED)).any(axis=other))
        if len(hit):
            labelled = hit
            break
    inner = np.linspace(0.1, 0.9, number) if number > 1 else np.array([0.5])
    return sorted({int(labelled[round(q * (len(labelled) - 1))]) for q in inner})


def case_panel(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    class_names: Sequence[str],
    *,
    affine: np.ndarray | None = None,
    slice_axis: int = 2,
    slices: Sequence[int] | None = None,
    tile: int = 320,
    around: Sequence[str] | None = None,
) -> Image.Image:
    """Draw one row a slice: the image, then the image under each label map, in true proportions.

    Drawn strokes of a map with unlabelled voxels (255) are thickened for display, into unlabelled voxels alone.

    Args:
        image: grey values (X, Y[, Z]).
        maps: titles and class-index maps of the image's shape; 255 is unlabelled and 0 the background, shown in grey
            only where a map also has unlabelled voxels.
        spacing: voxel size in mm, one number an axis of the image.
        class_names: names of the K classes, background first; their indices choose the colours.
        affine: voxel to RAS+ mm (4, 4), turns the slices for display; None shows the axes as they are stored.
        slice_axis: array axis across the slices of a volume.
        slices: slice indices; by default up to three of the last map's labelled slices.
        tile: width or height, whichever is longer, of one picture in pixels.
        around: titles of the maps whose labelled region is shown, with a margin; all maps by default; the whole slice
            where it is empty or they hold no foreground. Each picture says how much of its map's slice it leaves out.

    Returns:
        The panel. Its ``info`` holds ``boxes``, where each title's slices are (left, top, right, bottom), and
        ``colours``, a palette that serves all panels of these classes.

    Raises:
        ValueError: if shapes or spacing do not fit, or a map holds an index that is no class.
    """
    image, maps, size = as_volumes(image, maps, spacing, class_names)
    if missing := sorted(set(around or ()) - set(maps)):
        raise ValueError(f"around names {missing}, which are no titles of the maps {list(maps)}.")
    view = display_view(affine, slice_axis)
    volumes = list(maps.values())
    chosen = list(slices) if slices is not None else shown_slices(volumes[::-1] or [image * 0], slice_axis)
    low, high = grey_window(image, chosen, slice_axis)
    centre = volumes if around is None else [maps[title] for title in around]
    rows, columns = crop_box(centre, view, size, image.shape)
    height_mm = len(range(*rows.indices(image.shape[view.row_axis]))) * size[view.row_axis]
    width_mm = len(range(*columns.indices(image.shape[view.column_axis]))) * size[view.column_axis]
    scale = tile / max(height_mm, width_mm)
    shape = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))

    table = []
    for index in chosen:
        grey = np.clip((view.slice_of(image, index)[rows, columns] - low) / (high - low), 0, 1)
        picture = np.asarray(Image.fromarray((grey * 255).astype(np.uint8)).resize(shape, Image.Resampling.BICUBIC))
        picture = np.repeat(picture[..., None], 3, axis=-1)
        tiles = [Image.fromarray(picture)]
        for volume in volumes:
            whole = view.slice_of(volume, index)
            plane = Image.fromarray(np.ascontiguousarray(whole[rows, columns]))
            tiles.append(_overlay(picture, np.asarray(plane.resize(shape, Image.Resampling.NEAREST)), tile))
            mark(tiles[-1], outside(whole, whole[rows, columns]), ("", ""), tile)
        place = f"{index + 1} / {image.shape[slice_axis]}" if image.shape[slice_axis] > 1 else ""
        mark(tiles[0], place, view.edges, tile)
        table.append(tiles)
    sheet = compose(["image", *maps], table, tile)
    sheet.info["colours"] = panel_colours(len(class_names))
    return sheet


def as_volumes(
    image: np.ndarray, maps: Mapping[str, np.ndarray], spacing: Sequence[float], class_names: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Check one case and give it as volumes: image (X, Y, Z) float32, maps uint8, voxel size in mm (3,).

    Args:
        image: grey values (X, Y[, Z]).
        maps: titles and class-index maps of the image's shape; 255 is unlabelled.
        spacing: voxel size in mm, one number an axis of the image.
        class_names: names of the K classes, background first.

    Raises:
        ValueError: if shapes or spacing do not fit, or a map holds an index that is no class.
    """
    image, size = np.nan_to_num(np.asarray(image, dtype=np.float32)), np.asarray(spacing, dtype=float)
    if image.ndim not in (2, 3) or size.shape != (image.ndim,) or not (size > 0).all():
        raise ValueError(f"image must be (X, Y[, Z]) with one spacing an axis, got shape {image.shape}, {spacing}.")
    for title, volume in maps.items():
        if np.shape(volume) != image.shape:
            raise ValueError(f"the map {title!r} has shape {np.shape(volume)} and the image {image.shape}.")
        bad = [int(v) for v in np.unique(volume) if not 0 <= v < len(class_names) and v != UNLABELLED]
        if bad:
            raise ValueError(f"the map {title!r} holds {bad}, which are no indices of the classes {list(class_names)}.")
    volumes = {title: np.asarray(volume).astype(np.uint8) for title, volume in maps.items()}
    if image.ndim == 2:
        return image[..., None], {title: v[..., None] for title, v in volumes.items()}, np.append(size, 1.0)
    return image, volumes, size


def grey_window(image: np.ndarray, chosen: Sequence[int], slice_axis: int) -> tuple[float, float]:
    """Give the grey values shown as black and as white: 0.5 and 99.5 % of the voxels of the chosen slices."""
    low, high = np.percentile(np.take(image, chosen, axis=slice_axis), (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def crop_box(
    volumes: Sequence[np.ndarray],
    view: View,
    size: np.ndarray,
    shape: tuple[int, ...],
    margin: float | None = None,
) -> tuple[slice, slice]:
    """Give the displayed rows and columns around everything labelled, all of them where nothing is.

    Args:
        volumes: class-index maps (X, Y, Z).
        view: how slices are laid on the screen.
        size: voxel size in mm, (3,).
        shape: of the volumes.
        margin: in mm around the square that holds all; by default 35 % of its side.
    """
    labelled = np.zeros(shape, dtype=bool)
    for volume in volumes:
        labelled |= (volume > 0) & (volume != UNLABELLED)
    if not labelled.any():
        return slice(None), slice(None)
    flat = labelled.any(axis=view.slice_axis, keepdims=True)
    plane = view.slice_of(np.repeat(flat, 1, axis=view.slice_axis), 0)
    ends = [np.flatnonzero(plane.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    sizes = (size[view.row_axis], size[view.column_axis])
    longer = max((end - start + 1) * mm for (start, end), mm in zip(ends, sizes, strict=True))
    reach = 0.85 * longer if margin is None else longer / 2 + margin
    box = []
    for (start, end), mm, n in zip(ends, sizes, plane.shape, strict=True):
        half, middle = reach / mm, (start + end + 1) / 2
        box.append(slice(max(0, round(middle - half)), min(n, round(middle + half) + 1)))
    return box[0], box[1]


def outside(whole: np.ndarray, shown: np.ndarray) -> str:
    """Say which part of a slice's foreground is not shown."""
    here, there = (int(((plane > 0) & (plane != UNLABELLED)).sum()) for plane in (shown, whole))
    return f"{max(1, round(100 * (there - here) / there))} % outside" if there > here else ""


def _overlay(picture: np.ndarray, plane: np.ndarray, tile: int) -> Image.Image:
    """Tint a grey picture (H, W, 3) by a class-index plane (H, W) of the same size."""
    blend = picture.astype(np.float32)
    partial = bool((plane == UNLABELLED).any())
    for k in np.unique(plane):
        if k == UNLABELLED or (k == 0 and not partial):
            continue
        colour = np.array(class_colour(int(k)) if k else DRAWN_BACKGROUND, dtype=np.float32)
        mask = plane == k
        if partial:
            mask = binary_dilation(mask, iterations=max(1, tile // 140)) & (mask | (plane == UNLABELLED))
            alpha = 0.9 if k else 0.6
            blend[mask] = (1 - alpha) * blend[mask] + alpha * colour
        else:
            rim = mask & ~binary_erosion(mask, iterations=max(1, tile // 160), border_value=1)
            blend[mask] = 0.65 * blend[mask] + 0.35 * colour
            blend[rim] = colour
    return Image.fromarray(blend.round().astype(np.uint8))


def mark(picture: Image.Image, text: str, edges: tuple[str, str], tile: int) -> None:
    """Write a text into the corner of a picture, and the anatomical letters of its (left, top) edges."""
    draw, letters, (width, height) = ImageDraw.Draw(picture), font(min(20, max(9, tile // 11))), picture.size
    corner, left, top = (width - 6, height - 5), (5, height / 2), (width / 2, 5)
    places = [(corner, text, "rs"), (left, edges[0], "lm"), (top, edges[1], "mt")]
    for place, words, anchor in places:
        draw.text(place, words, PAPER, letters, anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def compose(titles: Sequence[str], table: Sequence[Sequence[Image.Image]], tile: int) -> Image.Image:
    """Put pictures of one size together, rows of columns under their titles; ``info`` holds ``boxes``."""
    width, height = table[0][0].size
    letters = font(min(23, max(10, tile // 9)))
    head = round(letters.size * 1.9)
    sheet = Image.new("RGB", (len(titles) * (width + GAP) - GAP, head + len(table) * (height + GAP) - GAP), color=PAPER)
    draw, boxes = ImageDraw.Draw(sheet), {}
    for column, title in enumerate(titles):
        left, tops = column * (width + GAP), [head + row * (height + GAP) for row in range(len(table))]
        draw.text((left, head / 2), shortened(title, letters, width), anchor="lm", font=letters, fill=INK)
        for top, tiles in zip(tops, table, strict=True):
            sheet.paste(tiles[column], (left, top))
        boxes[title] = [[left, top, left + width, top + height] for top in tops]
    sheet.info["boxes"] = boxes
    return sheet
