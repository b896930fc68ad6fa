# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.functional.convex_hull import in_hull


def picture(*rows: str) -> np.ndarray:
    return np.array([[letter == "x" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("mask", "hull"),
    [
        (("x-x-", "----", "x-x-"), ("xxx-", "xxx-", "xxx-")),
        (("x---", "----", "x--x"), ("x---", "xx--", "xxxx")),  # the side from (0, 0) to (2, 3) leaves out (1, 2)
        (("----", "xx-x", "----"), ("----", "xx-x", "----")),  # a line has no inside
        (("x---", "----", "---x"), ("x---", "----", "---x")),
        (("----", "----", "----"), ("----", "----", "----")),
    ],
)
def test_hulls_by_hand(mask, hull):
    assert np.array_equal(in_hull(picture(*mask)), picture(*hull))
