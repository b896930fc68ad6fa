# SPDX-License-Identifier: Apache-2.0
"""The arms of the enforcers, and the picture of their results."""

from __future__ import annotations

import enforcer_arms as arms
import picture_enforcers as pictures
import pytest

BOUNDS = {"estimated": {"bounds_from": "estimated"}}


def test_weights_that_are_tried_span_two_decades():
    found = arms.tried(BOUNDS)
    for name, middle in {**arms.MIDDLE, **arms.MIDDLE_OF_SET}.items():
        weights = [run["enforcer_weight"] for arm, (_, run) in found.items() if arm.startswith(f"{name}_estimated_w")]
        further = max(arms.FURTHER.get(name, (10.0,))) / 10  # beyond the two decades
        assert max(weights) / min(weights) == pytest.approx(100 * further) and middle in weights
    _, run = found["primal_dual_set_estimated_w1"]
    assert (run["enforcer"], run["enforcers#primal_dual#per"], run["mode"]) == ("primal_dual", "set", "constrained")


def test_arms_are_placed_by_their_weight():
    assert pictures.split_arm("relu_estimated_w0.009", "estimated", arms.MIDDLE) == ("relu", 0.3)
    of_set = ("primal_dual_set_estimated_w10", "estimated", {**arms.MIDDLE, **arms.MIDDLE_OF_SET})
    assert pictures.split_arm(*of_set) == ("primal_dual_set", 10.0)
    for other in ("relu_oracle_w0.03", "relu_estimated", "partial", "lasso_estimated_w1"):
        assert pictures.split_arm(other, "estimated", arms.MIDDLE) is None


def test_the_picture_has_a_line_an_enforcer_and_writes_what_lies_below():
    tried = [{"arm": "partial", "dice": "0.8"}]
    for factor, dice in ((0.1, 0.82), (1.0, 0.84), (10.0, 0.2)):
        tried += [{"arm": f"quadratic_estimated_w{0.3 * factor:g}", "dice": str(dice + more)} for more in (0, 0.02)]
    curves = [
        {"arm": f"quadratic_estimated_w{weight}", "iteration": step, "violation": value}
        for weight in ("0.3", "3")
        for step, value in (("59", "0.5"), ("118", "0.25"))
    ]
    figure = pictures.picture(tried, curves, "estimated", arms.MIDDLE)
    left, right = figure.axes
    line, partial = left.lines
    assert list(line.get_xdata()) == [0.1, 1.0, 10.0] and list(line.get_ydata()) == pytest.approx([0.83, 0.85, 0.21])
    assert list(partial.get_ydata()) == [0.8, 0.8] and left.get_ylim()[0] == pytest.approx(0.7)
    assert [text.get_text() for text in left.texts] == ["0.21"]
    assert [list(each.get_ydata()) for each in right.lines[:1]] == [[0.5, 0.25]]  # of the middle weight alone
