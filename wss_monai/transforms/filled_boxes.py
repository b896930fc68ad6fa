# SPDX-License-Identifier: Apache-2.0
"""Boxes taken for the organs themselves: the baseline that constraints on boxes are compared with."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import in_boxes, visible_index

__all__ = ["FilledBoxesd"]


class FilledBoxesd(MapTransform):
    """Label the inside of each box as its class in the weak label; where boxes overlap, as the smaller class.

    Such labels are wrong at the corners of every box: a box over-estimates its organ.

    Args:
        keys: key of the weak label (1, *spatial).
        boxes_key: key of the boxes (K, *spatial).
    """

    def __init__(self, keys: KeysCollection = "weak_label", boxes_key: str = "boxes") -> None:
        super().__init__(keys)
        self.boxes_key = boxes_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fill the boxes in a copy of the case."""
        d = dict(data)
        shown = visible_index(in_boxes(convert_to_numpy(d[self.boxes_key])))
        for key in self.key_iterator(d):
            filled = np.where(shown != UNLABELLED, shown, convert_to_numpy(d[key]))
            d[key] = convert_to_dst_type(filled, d[key], dtype=torch.uint8)[0]
        return d
