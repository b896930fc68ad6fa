# SPDX-License-Identifier: Apache-2.0
"""A sheet that shows the activation maps of each modality over its image, their fusion, and what was cut out of it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from wss_monai.functional import UNLABELLED
from wss_monai.report.fonts import font
from wss_monai.report.palette import class_colour
from wss_monai.report.panels import GAP, INK, PAPER, as_volumes, compose, display_view, grey_window, mark, shown_slices

__all__ = ["cam_sheet"]

COLOURS = matplotlib.colormaps["plasma"]
DENSEST = 0.8
"""Share of the colour where a map is 1."""
OUTLINE = class_colour(6)


def cam_sheet(
    image: np.ndarray,
    maps: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    modalities: Sequence[str],
    *,
    reference: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    slice_axis: int = 2,
    slices: Sequence[int] | None = None,
    tile: int = 180,
    whole: bool = False,
) -> Image.Image:
    """Draw one row a slice: each modality, its map over it, the fused map, the outline of prediction and reference.

    In true proportions, turned as radiologists read them, without the margin where the image is blank. Colour grows
    with the map, and a map that is 0 leaves the image grey; a scale at the foot says so.

    Args:
        image: grey values (M, X, Y[, Z]).
        maps: in 0..1, (M, X, Y[, Z]), or (M + 1, ...) with the fused map as the last, which one modality does not need.
        prediction: class indices (X, Y[, Z]).
        spacing: voxel size in mm, one number an axis.
        modalities: M names.
        reference: class indices (X, Y[, Z]), 255 is unlabelled; None, or all 255: there is none.
        affine: voxel to RAS+ mm (4, 4); None shows the axes as they are stored.
        slice_axis: array axis across the slices of a volume.
        slices: slice indices; by default three from one end to the other of what the reference shows, else of the
            prediction.
        tile: width or height, whichever is longer, of one picture in pixels.
        whole: keep the blank margin, so that sheets of one case have one size whatever is predicted.

    Returns:
        The sheet. Its ``info`` holds ``boxes``, where each title's slices are (left, top, right, bottom).

    Raises:
        ValueError: shapes, names or spacing that do not fit together.
    """
    names = [str(name) for name in modalities]
    image, maps = (np.nan_to_num(np.asarray(values, np.float32)) for values in (image, maps))
    if image.shape[0] != len(names) or maps.shape[0] not in (len(names), len(names) + 1):
        raise ValueError(
            f"{len(names)} modalities need an image of as many channels, and as many maps or the fused one besides; "
            f"got image {image.shape} and maps {maps.shape}."
        )
    if maps.shape[1:] != image.shape[1:]:
        raise ValueError(f"maps {maps.shape} and image {image.shape} are not on one grid.")
    outlines = {"prediction": _foreground(prediction)}
    if reference is not None and (np.asarray(reference) != UNLABELLED).any():
        outlines["reference"] = _foreground(reference)
    _, outlines, size = as_volumes(image[0], outlines, spacing, ["background", "foreground"])
    if image.ndim == 3:
        image, maps = image[..., None], maps[..., None]
        slice_axis, affine = 2, None
    view = display_view(affine, slice_axis)
    chosen = list(slices) if slices is not None else shown_slices(list(outlines.values())[::-1], slice_axis)
    if not whole:
        seen = _seen(image, [maps.max(0), *outlines.values()], slice_axis)
        image, maps = image[(slice(None), *seen)], maps[(slice(None), *seen)]
        outlines = {title: mask[seen] for title, mask in outlines.items()}
    millimetres = np.array([image.shape[axis + 1] * size[axis] for axis in (view.column_axis, view.row_axis)])
    shape = tuple(max(1, round(v)) for v in millimetres * tile / millimetres.max())
    windows = [grey_window(channel, chosen, slice_axis) for channel in image]
    fused = maps[-1] if len(maps) > len(names) > 1 else None

    table = []
    for index in chosen:
        greys = [
            _resized(np.clip((view.slice_of(channel, index) - low) / (high - low), 0, 1), shape)
            for channel, (low, high) in zip(image, windows, strict=True)
        ]
        over = [*zip(greys, maps, strict=False), *([] if fused is None else [(greys[0], fused)])]
        tiles = [_picture(_grey(grey)) for grey in greys]
        tiles += [_picture(_coloured(grey, _resized(view.slice_of(m, index), shape))) for grey, m in over]
        tiles += [_picture(_outlined(greys[0], view.slice_of(v, index), shape, tile)) for v in outlines.values()]
        place = f"{index + 1} / {image.shape[slice_axis + 1]}" if image.shape[slice_axis + 1] > 1 else ""
        mark(tiles[0], place, view.edges, tile)
        table.append(tiles)
    titles = [*names, *(f"map of {name}" for name in names), *(["fused map"] if fused is not None else []), *outlines]
    return _with_scale(compose(titles, table, tile), tile)


def _foreground(index: np.ndarray) -> np.ndarray:
    index = np.asarray(index)
    return ((index > 0) & (index != UNLABELLED)).astype(np.uint8)


def _seen(image: np.ndarray, marked: Sequence[np.ndarray], slice_axis: int) -> tuple[slice, ...]:
    """The part (X, Y, Z) of a volume outside of which the image is blank and nothing is marked, in all its slices."""
    inside = (image != image[:, :1, :1, :1]).any(0)
    for volume in marked:
        inside |= volume > 0
    part = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(tuple(other for other in range(3) if other != axis)))
        whole = axis == slice_axis or not len(found)
        part.append(slice(None) if whole else slice(int(found[0]), int(found[-1]) + 1))
    return tuple(part)


def _resized(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A plane (rows, columns) of values in 0..1 at (width, height) pixels."""
    pixels = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.clip(np.asarray(pixels.resize((shape[0], shape[1]), Image.Resampling.BILINEAR)), 0, 1)


def _grey(plane: np.ndarray) -> np.ndarray:
    return np.repeat(plane[..., None], 3, axis=-1)


def _coloured(grey: np.ndarray, values: np.ndarray) -> np.ndarray:
    alpha = DENSEST * np.sqrt(values)[..., None]
    mixed: np.ndarray = (1 - alpha) * _grey(grey) + alpha * COLOURS(values)[..., :3]
    return mixed


def _outlined(grey: np.ndarray, plane: np.ndarray, shape: tuple[int, ...], tile: int) -> np.ndarray:
    mask = Image.fromarray(np.ascontiguousarray(plane)).resize((shape[0], shape[1]), Image.Resampling.NEAREST)
    inside = np.asarray(mask) > 0
    rim = inside & ~binary_erosion(inside, iterations=max(1, tile // 90), border_value=1)
    picture = _grey(grey)
    picture[rim] = np.array(OUTLINE) / 255
    return picture


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _with_scale(sheet: Image.Image, tile: int) -> Image.Image:
    """The sheet with the colours of a map from 0 to 1 at its foot."""
    letters = font(min(16, max(9, tile // 12)))
    height, left = round(letters.size * 1.2), round(letters.size * 1.5)
    width = min(tile, sheet.width - 2 * left)
    out = Image.new("RGB", (sheet.width, sheet.height + GAP + height), color=PAPER)
    out.paste(sheet, (0, 0))
    top = sheet.height + GAP
    values = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    out.paste(_picture(_coloured(np.full_like(values, 0.5), values)), (left, top))
    draw = ImageDraw.Draw(out)
    draw.text((left - 4, top + height / 2), "0", anchor="rm", font=letters, fill=INK)
    draw.text((left + width + 4, top + height / 2), "1   map", anchor="lm", font=letters, fill=INK)
    out.info.update(sheet.info)
    return out
