# SPDX-License-Identifier: Apache-2.0
"""Transforms that give each case the bounds of its constraints: constant, from tags, boxes, labels or estimates."""

from __future__ import annotations

from wss_monai.transforms.bounds.anatomy import AnatomyValues
from wss_monai.transforms.bounds.box import (
    BoxBounds,
    BoxBoundsd,
    BoxTightnessBounds,
    BoxTightnessBoundsd,
    EmptinessBounds,
    EmptinessBoundsd,
)
from wss_monai.transforms.bounds.constant import Boundsd, ConstantBounds, ConstantBoundsd, LabelBounds, LabelBoundsd
from wss_monai.transforms.bounds.equal_volume import EqualVolumed
from wss_monai.transforms.bounds.estimated import EstimatedBounds, EstimatedBoundsd, WeakCuesd
from wss_monai.transforms.bounds.predicted import PredictedBounds, PredictedBoundsd

__all__ = [
    "AnatomyValues",
    "Boundsd",
    "BoxBounds",
    "BoxBoundsd",
    "BoxTightnessBounds",
    "BoxTightnessBoundsd",
    "ConstantBounds",
    "ConstantBoundsd",
    "EmptinessBounds",
    "EmptinessBoundsd",
    "EqualVolumed",
    "EstimatedBounds",
    "EstimatedBoundsd",
    "LabelBounds",
    "LabelBoundsd",
    "PredictedBounds",
    "PredictedBoundsd",
    "WeakCuesd",
]
