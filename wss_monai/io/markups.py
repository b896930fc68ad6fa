# SPDX-License-Identifier: Apache-2.0
"""Markups of 3D Slicer (.mrk.json): points and boxes, in RAS and mm.

The format is public: Modules/Loadable/Markups/Resources/Schema in Slicer's repository (version 1.0.3).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json

__all__ = ["ENDING", "MarkedBox", "MarkedPoint", "read_markups"]

ENDING = ".mrk.json"
SYSTEMS = {"LPS": (-1.0, -1.0, 1.0), "RAS": (1.0, 1.0, 1.0), "1": (-1.0, -1.0, 1.0), "0": (1.0, 1.0, 1.0)}
"""Word for a coordinate system (in the oldest files a number) -> signs that turn it into RAS."""
UNITS = {"mm": 1.0, "um": 1e-3}
DEFINED = "defined"
FARTHEST = 1e9
"""Beyond it a number is no coordinate."""


@dataclass(frozen=True)
class MarkedPoint:
    """A control point.

    Attributes:
        names: what it may be called: its own label without a number at the end, the name of its list, the file's.
        label: its own label as it is shown, for messages.
        position: RAS, mm, (3,).
    """

    names: tuple[str, ...]
    label: str
    position: np.ndarray


@dataclass(frozen=True)
class MarkedBox:
    """A region of interest.

    Attributes:
        names: what it may be called: its own name, the file's.
        label: its name as it is shown, for messages.
        centre: RAS, mm, (3,).
        axes: the directions of its edges in RAS as columns, (3, 3).
        size: lengths of the edges, mm, (3,).
    """

    names: tuple[str, ...]
    label: str
    centre: np.ndarray
    axes: np.ndarray
    size: np.ndarray


def read_markups(path: str | os.PathLike[str]) -> list[MarkedPoint | MarkedBox]:
    """Read points and boxes. Points that were not placed yet are left out.

    Raises:
        OSError: it cannot be read.
        FormatFault: it is no Markups file, holds lines, curves, angles or planes, or numbers that make no sense.
    """
    content = read_json(path)
    nodes = content.get("markups") if isinstance(content, Mapping) else None
    if not isinstance(nodes, list):
        raise FormatFault(path, "has no list 'markups'", "save points and ROIs in 3D Slicer as .mrk.json")
    found: list[MarkedPoint | MarkedBox] = []
    for number, node in enumerate(nodes):
        if not isinstance(node, Mapping):
            raise FormatFault(path, f"markups[{number}] must be an object, got {type(node).__name__}")
        file = Path(path).name
        file = file[: -len(ENDING)] if file.lower().endswith(ENDING) else Path(file).stem
        name = str(node.get("name") or "").strip()
        names = (*((name,) if name else ()), file)
        where = f"{path}: markups[{number}]" + (f" '{name}'" if name else "")
        kind = node.get("type")
        if kind == "Fiducial":
            found += _points(node, names, where)
        elif kind == "ROI":
            found.append(_box(node, names, where))
        else:
            raise FormatFault(
                where,
                f"is of type {kind!r}; points (Fiducial) and boxes (ROI) can be read",
                "draw lines and areas as segments, with the Segment Editor",
            )
    return found


def _points(node: Mapping[str, Any], names: tuple[str, ...], where: str) -> list[MarkedPoint]:
    turn, points = _to_ras(node, where), node.get("controlPoints") or []
    if not isinstance(points, list) or not all(isinstance(point, Mapping) for point in points):
        raise FormatFault(where, "'controlPoints' must be a list of objects")
    found = []
    for number, point in enumerate(points):
        if point.get("positionStatus", DEFINED) != DEFINED:
            continue
        label = str(point.get("label") or "").strip()
        position = turn * _numbers(point, "position", 3, f"{where}: point '{label or number}'")
        own = re.sub(r"[-_ ]*\d+$", "", label)
        found.append(MarkedPoint(((own,) if own else ()) + names, label or f"{names[0]}, point {number}", position))
    return found


def _box(node: Mapping[str, Any], names: tuple[str, ...], where: str) -> MarkedBox:
    turn, signs = _to_ras(node, where), np.sign(_to_ras(node, where))
    if node.get("insideOut"):
        raise FormatFault(where, "is inside out", "turn 'Inside out' off")
    size = _numbers(node, "size", 3, where) * np.abs(turn)
    if (size < 0).any() or not size.any():
        raise FormatFault(where, f"has the size {size.tolist()}, which is no box", "place it in 3D Slicer")
    axes = np.eye(3)
    if node.get("orientation") is not None:
        axes = signs[:, None] * _numbers(node, "orientation", 9, where).reshape(3, 3)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise FormatFault(where, f"'orientation' is no rotation: {node['orientation']}")
    return MarkedBox(names, names[0], turn * _numbers(node, "center", 3, where), axes, size)


def _to_ras(node: Mapping[str, Any], where: str) -> np.ndarray:
    """Give the factors, one an axis, that turn coordinates into RAS and mm."""
    system = str(node.get("coordinateSystem", "LPS"))
    unit = node.get("coordinateUnits", "mm")
    unit = unit[0] if isinstance(unit, list) and unit else unit
    if system not in SYSTEMS:
        raise FormatFault(where, f"'coordinateSystem' must be LPS or RAS, got {system!r}")
    if unit not in UNITS:
        raise FormatFault(where, f"'coordinateUnits' must be mm or um, got {unit!r}")
    return np.array(SYSTEMS[system]) * UNITS[unit]


def _numbers(node: Mapping[str, Any], key: str, count: int, where: str) -> np.ndarray:
    try:
        values = np.array(node.get(key), dtype=float)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (count,) or not (np.abs(values) <= FARTHEST).all():
        raise FormatFault(where, f"'{key}' must be {count} numbers, got {node.get(key)!r}")
    return values
