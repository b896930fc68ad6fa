# SPDX-License-Identifier: Apache-2.0
"""What a violation costs under each penalty: a figure of the curves and of their slopes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from wss_monai.losses.penalties import LogBarrierExtension, QuadraticPenalty, ReLUPenalty
from wss_monai.report.figure_file import check_figure_name, save_figure
from wss_monai.report.figures import STYLE, legend_below
from wss_monai.report.palette import run_colour

__all__ = ["penalty_curves", "write_penalties"]

POINTS = 1201


def write_penalties(
    out: Path | str, *, t: Sequence[float] = (1.0, 5.0, 20.0), limits: tuple[float, float] = (-2.0, 1.0)
) -> None:
    """Draw penalties and their slopes over the violation z; z <= 0 keeps the bound.

    Args:
        out: the file to write: .png, .svg or .pdf.
        t: sharpnesses of the log-barrier extension, a curve each.
        limits: smallest and largest z.

    Raises:
        ValueError: if an argument does not fit.
    """
    out = check_figure_name(out)
    if not limits[0] < 0 < limits[1]:
        raise ValueError(f"limits must lie on both sides of 0, got {limits[0]:g} and {limits[1]:g}.")
    penalties = _penalties(t)
    z = torch.linspace(*limits, POINTS, dtype=torch.float64)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        for axis, heading in zip(figure.subplots(1, 2), ("cost", "slope: how hard it pushes"), strict=True):
            for i, penalty in enumerate(penalties.values()):
                axis.plot(z, penalty_curves(penalty, z)[heading != "cost"], color=run_colour(i), linewidth=1.8)
            axis.axvline(0, color="#6B7280", linewidth=0.8)
            axis.set_title(heading)
            axis.set_xlabel("violation z (z ≤ 0: the bound is kept)")
        top = max(float(penalty(z[-1:])) for name, penalty in penalties.items() if "barrier" not in name)
        cost, slope = figure.axes
        cost.set_ylim(-1.0, 2.5 * top)
        slope.set_ylim(-0.2, 1.15 * max(2 * limits[1], 1.0, sorted(t)[len(t) // 2] if t else 0.0))
        legend_below(figure, list(penalties))
        save_figure(figure, out)


def penalty_curves(penalty: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Give cost and slope of a penalty at each z (N,)."""
    z = z.detach().clone().requires_grad_()
    cost = penalty(z)
    (slope,) = torch.autograd.grad(cost.sum(), z)
    return cost.detach(), slope


def _penalties(t: Sequence[float]) -> dict[str, nn.Module]:
    barriers = {f"log-barrier extension, t = {sharpness:g}": LogBarrierExtension(sharpness) for sharpness in t}
    return {"quadratic": QuadraticPenalty(), "ReLU": ReLUPenalty(), **barriers}
