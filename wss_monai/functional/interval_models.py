# SPDX-License-Identifier: Apache-2.0
"""Intervals predicted from cues: a linear model of a log-measure, and residual quantiles that vary by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["IntervalModel", "kind_of", "slice_features", "slice_positions", "volume_features"]

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
        cues: (S, 3), see `wss_monai.functional.weak_cues.CUES`.
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


def kind_of(weak_kind: str | None) -> str:
    """Which cues a kind of weak label has: its lengths, its boxes, or nothing but its tags."""
    if weak_kind is not None and weak_kind.startswith("scribble"):
        return "scribble"
    return "box" if weak_kind == "box" else "position"
