# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from wss_monai.losses.penalties import LogBarrierExtension, QuadraticPenalty, ReLUPenalty
from wss_monai.report import penalties
from wss_monai.report.penalties import penalty_curves, write_penalties


def test_costs_and_slopes():
    z = torch.tensor([-1.0, -0.01, 2.0], dtype=torch.float64)
    cost, slope = penalty_curves(LogBarrierExtension(5), z)
    constant = (2 * math.log(5) + 1) / 5
    assert cost.tolist() == pytest.approx([0.0, -0.05 + constant, 10 + constant])
    assert slope.tolist() == pytest.approx([0.2, 5.0, 5.0])
    assert [part.tolist() for part in penalty_curves(QuadraticPenalty(), z)] == [[0, 0, 4], [0, 0, 4]]
    assert [part.tolist() for part in penalty_curves(ReLUPenalty(), z)] == [[0, 0, 2], [0, 0, 1]]


def test_one_curve_a_penalty(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(penalties, "save_figure", lambda figure, out: made.append(figure))
    write_penalties(tmp_path / "p.png", t=[2.0, 9.0])
    words = [text.get_text() for text in made[0].legends[0].get_texts()]
    assert words == ["quadratic", "ReLU", "log-barrier extension, t = 2", "log-barrier extension, t = 9"]
    cost, slope = made[0].axes
    assert [len(axis.get_lines()) for axis in (cost, slope)] == [5, 5]  # and the line at z = 0
    assert cost.get_lines()[0].get_ydata()[-1] == pytest.approx(1.0)
    assert slope.get_lines()[0].get_ydata()[-1] == pytest.approx(2.0)


def test_figure_is_written(tmp_path):
    write_penalties(tmp_path / "made" / "p.svg", t=[5.0])
    assert "log-barrier extension, t = 5" in (tmp_path / "made" / "p.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "match"),
    [({"t": [0.0]}, "t must be a positive number"), ({"limits": (0.5, 1.0)}, "limits must lie on both sides of 0")],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, change, match):
    with pytest.raises(ValueError, match=match):
        write_penalties(tmp_path / "p.png", **change)
