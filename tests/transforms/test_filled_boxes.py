# SPDX-License-Identifier: Apache-2.0
"""Boxes as labels."""

from __future__ import annotations

import torch

from wss_monai.transforms import FilledBoxesd


def test_the_smaller_class_is_on_top():
    boxes = torch.zeros(3, 6, 6, 2, dtype=torch.uint8)
    boxes[1, 0:5, 0:5, 0], boxes[2, 1:3, 1:3, 0] = 1, 1
    boxes[..., 1] = 255
    weak = torch.full((1, 6, 6, 2), 255, dtype=torch.uint8)
    weak[0, 5] = 0
    data = {"weak_label": weak, "boxes": boxes}
    out = FilledBoxesd()(data)["weak_label"]
    assert out.dtype == torch.uint8
    assert (out[0, ..., 0] == 1).sum() == 21
    assert (out[0, 1:3, 1:3, 0] == 2).all()
    assert (out[0, 5] == 0).all()
    assert torch.equal(out[..., 1], weak[..., 1])
    assert (data["weak_label"] != 1).all()
