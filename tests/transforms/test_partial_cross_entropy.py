# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from wss_monai.transforms import PartialCrossEntropyd


def test_mean_over_drawn_voxels_by_hand():
    logits = torch.zeros(2, 2, 2)
    logits[1, 0, 0] = math.log(3)  # 3/4 for class 1
    drawn = torch.full((1, 2, 2), 255)
    drawn[0, 0, 0], drawn[0, 1, 1] = 1, 0
    case = PartialCrossEntropyd()({"pred": logits, "weak_label": drawn})
    assert float(case["partial_ce"]) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    sharp = PartialCrossEntropyd(temperature=2.0)({"pred": logits, "weak_label": drawn})
    assert float(sharp["partial_ce"]) == pytest.approx((math.log(10 / 9) + math.log(2)) / 2)


def test_nothing_drawn_gives_no_number_and_another_grid_is_refused():
    logits, nothing = torch.zeros(2, 2, 2), torch.full((1, 2, 2), 255)
    assert "partial_ce" not in PartialCrossEntropyd()({"pred": logits, "weak_label": nothing})
    assert "partial_ce" not in PartialCrossEntropyd()({"pred": logits})
    with pytest.raises(ValueError, match=r"case 'a': pred has the grid \(2, 2\) and weak_label \(3, 2\)"):
        PartialCrossEntropyd()({"case": "a", "pred": logits, "weak_label": torch.zeros(1, 3, 2)})
