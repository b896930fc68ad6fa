# SPDX-License-Identifier: Apache-2.0
"""Intervals predicted from cues: a linear model of a log-measure, and residual quantiles that vary by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = [
    "AreaProfile",
    "IntervalModel",
    "positions_in_stack",
    "slice_features",
    "slice_positions",
    "volume_features",
]

LEAST = 0.05
"""Least distance of each end from the prediction, in the logarithm: nothing drawn is known better than that."""


@dataclass(frozen=True)
class IntervalModel:
    """exp(features x coefficients), times exp(quantiles x exp(position x spread)) on either side.

    Attributes:
        coefficients: (F,) of the log-measure.
        spread: (P,) coefficients of the log of the residuals' size, P <= F features.
        quantiles: lower and upper quantile of the scaled residuals.
        spread_range: least and largest scale.
    """

    coefficients: list[float]
    spread: list[float]
    quantiles: tuple[float, float]
    spread_range: tuple[float, float] = (0.03, 2.7)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Intervals (N, 2) of the measure for features (N, F)."""
        centre = features @ np.asarray(self.coefficients)
        steps = self.scale(features)[:, None] * np.asarray(self.quantiles)
        lower, upper = np.minimum(steps[:, 0], -LEAST), np.maximum(steps[:, 1], LEAST)
        return np.exp(centre[:, None] + np.stack((lower, upper), 1))

    def scale(self, features: np.ndarray) -> np.ndarray:
        """Scale (N,) of the residuals."""
        log_scale = features[:, : len(self.spread)] @ np.asarray(self.spread)
        return np.exp(np.clip(log_scale, *np.log(self.spread_range)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> IntervalModel:
        """The model that `to_dict` wrote."""
        return cls(
            [float(v) for v in content["coefficients"]],
            [float(v) for v in content["spread"]],
            (float(content["quantiles"][0]), float(content["quantiles"][1])),
            (float(content["spread_range"][0]), float(content["spread_range"][1])),
        )


@dataclass(frozen=True)
class AreaProfile:
    """Areas of a class in labelled volumes over the position in the stack: what holds where no tag says anything.

    Each labelled volume speaks for a position with its nearest slice that shows the class and with all others within
    `reach`. The upper side is the largest of these areas times the factor; it holds whether the class is there or not.
    The lower side is the smallest of them divided by the factor, at positions of sure presence alone.

    Attributes:
        positions: of each volume, the slices that show the class, as `positions_in_stack`.
        areas: their areas in mm2.
        factor: widening of both sides, at least 1.
        reach: distance of positions, in parts of the stack.
        sure: first and last position of sure presence; None: there are none.
        directed: whether positions mean the same in all volumes. If not, the largest area of all holds everywhere.
    """

    positions: list[list[float]]
    areas: list[list[float]]
    factor: float
    reach: float
    sure: tuple[float, float] | None
    directed: bool = True

    def __call__(self, count: int) -> np.ndarray:
        """Intervals (S, 2) in mm2 for a stack of S = `count` slices; a lower side that is not known is -inf.

        A single slice has no position.
        """
        every = np.concatenate([np.asarray(areas) for areas in self.areas])
        if count == 1 or not self.directed:
            return np.tile([-np.inf, every.max() * self.factor], (count, 1))
        here = positions_in_stack(count)
        lower, upper = np.full(count, np.inf), np.zeros(count)
        for positions, areas in zip(self.positions, self.areas, strict=True):
            away = np.abs(here[:, None] - np.asarray(positions))
            near = away <= np.maximum(away.min(1, keepdims=True), self.reach) + 1e-9
            lower = np.minimum(lower, np.where(near, areas, np.inf).min(1))
            upper = np.maximum(upper, np.where(near, areas, 0.0).max(1))
        known = np.zeros(count, bool)
        if self.sure is not None:
            known = (here >= self.sure[0] - 1e-9) & (here <= self.sure[1] + 1e-9)
        return np.stack((np.where(known, lower / self.factor, -np.inf), upper * self.factor), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AreaProfile:
        """The profile that `to_dict` wrote."""
        sure = content["sure"]
        return cls(
            [[float(v) for v in row] for row in content["positions"]],
            [[float(v) for v in row] for row in content["areas"]],
            float(content["factor"]),
            float(content["reach"]),
            None if sure is None else (float(sure[0]), float(sure[1])),
            bool(content["directed"]),
        )


def positions_in_stack(count: int) -> np.ndarray:
    """Where each of `count` slices lies between the two ends of the stack (S,), 0..1: the middle of its share."""
    positions: np.ndarray = (np.arange(count) + 0.5) / count
    return positions


def slice_positions(present: np.ndarray) -> np.ndarray:
    """Where each slice lies between the first and the last slice that shows the class, 0..1.

    Args:
        present: (S,) whether a tag or a weak label says that the class is there.

    Returns:
        (S,); 0.5 throughout for a class that is nowhere. Slices outside the range get the nearest end.
    """
    at = np.flatnonzero(present)
    if not len(at):
        return np.full(len(present), 0.5)
    return np.clip((np.arange(len(present)) - at[0] + 0.5) / (at[-1] - at[0] + 1), 0.0, 1.0)


def slice_features(kind: str, cues: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Features (S, F) of one class in the slices of a volume.

    Args:
        kind: "position" (tags alone), "box" (and the drawn box) or "scribble" (and length and hull).
        cues: (S, 3), see `wss_monai.functional.weak.features.CUES`.
        present: (S,) of bool.
    """
    z = slice_positions(present)
    rows = [np.ones_like(z), z, z**2]
    length, box, hull = np.log(np.nan_to_num(cues).T + 1)
    rows += {"position": [], "box": [box], "scribble": [length, box, hull]}[kind]
    return np.stack(rows, 1)


def volume_features(kind: str, cues: np.ndarray, present: np.ndarray, thickness: float) -> np.ndarray:
    """Features (1, F) of one class in a whole volume.

    Args:
        kind, cues, present: as in `slice_features`.
        thickness: distance of the slices in mm.
    """
    height = thickness * max(int(np.sum(present)), 1)
    drawn = np.nan_to_num(cues).sum(0) * thickness
    rows = [1.0, np.log(height)]
    rows += {"position": [], "box": [np.log(drawn[1] + 1)], "scribble": [np.log(drawn[2] + 1)]}[kind]
    return np.array([rows])
