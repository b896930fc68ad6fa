# SPDX-License-Identifier: Apache-2.0
"""Penalties: values, slopes, precision and state."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch

from wss_monai.losses import LogBarrierExtension, QuadraticPenalty, ReLUPenalty
from wss_monai.losses.penalties import needs_interior

SHARPNESS = [1.0, 1.1, 5.0, 17.4, 117.0, 1e3, 1e4, 1e6]
ALL = [QuadraticPenalty(), ReLUPenalty(), LogBarrierExtension(1.0), LogBarrierExtension(5.0), LogBarrierExtension(1e6)]


def formula(z: float, t: float) -> float:
    return -math.log(-z) / t if z <= -1 / t**2 else t * z - math.log(1 / t**2) / t + 1 / t


def slope(z: float, t: float, dtype: torch.dtype = torch.float64) -> float:
    point = torch.tensor(z, dtype=dtype, requires_grad=True)
    LogBarrierExtension(t)(point).backward()
    return point.grad.item()


def test_quadratic_and_relu_by_hand():
    z = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    assert QuadraticPenalty()(z).tolist() == [0, 0, 0.25, 9]
    assert ReLUPenalty()(z).tolist() == [0, 0, 0.5, 3]


def test_log_barrier_by_hand():
    barrier = LogBarrierExtension(1.0)
    z = torch.tensor([-math.e, -1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(barrier(z), torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize("t", SHARPNESS)
def test_log_barrier_equals_the_formula(t):
    edge = -1 / t**2
    values = [-1e6, -37.0, -1.0, -0.1, 2 * edge, edge * (1 + 1e-9), edge, edge * (1 - 1e-9), edge / 2, 0.0, 0.3, 1.0]
    result = LogBarrierExtension(t)(torch.tensor(values, dtype=torch.float64))
    for z, value in zip(values, result.tolist(), strict=True):
        assert value == pytest.approx(formula(z, t), rel=1e-13, abs=1e-9)


@pytest.mark.parametrize("t", SHARPNESS)
def test_log_barrier_is_smooth_where_the_line_begins(t):
    edge = -1 / t**2
    below, above = edge * (1 + 1e-7), edge * (1 - 1e-7)
    values = LogBarrierExtension(t)(torch.tensor([below, edge, above], dtype=torch.float64))
    assert (values.diff() >= 0).all()
    assert values[2] - values[0] == pytest.approx(t * (above - below), rel=1e-3, abs=1e-12)
    for z in (below, edge, above, 0.0, 1.0):
        assert slope(z, t) == pytest.approx(t, rel=1e-6)
    assert slope(2 * edge, t) == pytest.approx(t / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("t", [*SHARPNESS, 1e-15, 1e15])
def test_log_barrier_gradient_is_finite_in_low_precision(t, dtype):
    values = [-1e4, -1.0, -1e-3, -1e-7, 0.0, 1e-7, 1e-3, 1.0]
    z = torch.tensor(values, dtype=dtype, requires_grad=True)
    value = LogBarrierExtension(t)(z)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    value.sum().backward()
    assert z.grad.isfinite().all()
    assert (z.grad > 0).all()


def test_log_barrier_at_zero_has_slope_t():
    for t in (1.0, 1e3, 1e6):
        assert slope(0.0, t, torch.float32) == t


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_gradcheck(penalty):
    z = torch.tensor([-5.0, -1.3, -0.2, 0.4, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, z, rtol=1e-3 if getattr(penalty, "t", 1) > 100 else 1e-5)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_vectorised_equals_elementwise(penalty):
    z = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    single = torch.stack([penalty(v) for v in z.flatten()]).view_as(z)
    torch.testing.assert_close(penalty(z), single, rtol=0, atol=0)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_computed_in_float32_or_wider(penalty):
    z = torch.linspace(-2, 2, 41)
    assert penalty(z.double()).dtype == torch.float64
    for dtype in (torch.float16, torch.bfloat16):
        low = penalty(z.to(dtype))
        assert low.dtype == torch.float32
        assert torch.equal(low, penalty(z.to(dtype).float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(penalty(z), penalty(z.clone()))
        inside = penalty(z)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, penalty(z))


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_any_shape(penalty):
    assert penalty(torch.tensor(0.5)).shape == ()
    assert penalty(torch.zeros(0, 3)).shape == (0, 3)
    assert penalty(torch.zeros(2, 1, 3, 2)).shape == (2, 1, 3, 2)


@pytest.mark.parametrize("t", [1 / 3, 1.1**17, 12345.678901234567])
def test_t_is_saved_in_full_precision(t):
    barrier = LogBarrierExtension(t)
    buffer = io.BytesIO()
    torch.save(barrier.half().to(torch.bfloat16).state_dict(), buffer)
    buffer.seek(0)
    other = LogBarrierExtension(1.0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.t == t
    assert barrier.t == t
    assert copy.deepcopy(barrier).t == t


def test_t_of_a_nested_barrier_is_in_the_state():
    model = torch.nn.Sequential(LogBarrierExtension(7.7))
    state = model.half().state_dict()
    assert [float(v) for v in state.values()] == [7.7]
    model[0].set_t(1.0)
    model.load_state_dict(state)
    assert model[0].t == 7.7


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf, 1e200, 1e-200])
def test_impossible_t_is_refused(t):
    with pytest.raises(ValueError, match="t must be"):
        LogBarrierExtension(t)
    barrier = LogBarrierExtension(2.0)
    with pytest.raises(ValueError, match="t must be"):
        barrier.set_t(t)
    assert barrier.t == 2.0


def test_forward_does_not_change_t():
    barrier = LogBarrierExtension(3.0)
    barrier(torch.randn(5))
    assert barrier.t == 3.0
    assert "t=3.0" in repr(barrier)


def test_only_the_barrier_needs_an_interior():
    assert [p.strict_interior for p in ALL] == [False, False, True, True, True]


@pytest.mark.parametrize("target", [5.0, -4.0, 0.3])
def test_barrier_finds_the_constrained_optimum(target):
    """Minimise |x - c|^2 subject to 1 <= sum(x) <= 2: the projection of c on the slab."""
    centre = torch.tensor([target, 0.5, -0.7], dtype=torch.float64)
    total = float(centre.sum())
    optimum = centre + (min(max(total, 1.0), 2.0) - total) / 3
    barrier = LogBarrierExtension(1.0)
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)
    gaps = []
    for t in (1.0, 10.0, 100.0, 1e3, 1e4, 1e5):
        barrier.set_t(t)

        def closure():
            optimiser.zero_grad()
            size = x.sum()
            loss = ((x - centre) ** 2).sum() + barrier(torch.stack((1 - size, size - 2))).sum()
            loss.backward()
            return loss

        for _ in range(5):
            optimiser.step(closure)
        gaps.append((x.detach() - optimum).norm().item())
    assert gaps[-1] < 1e-4
    assert gaps[-1] < gaps[2] < gaps[0]


def test_only_a_penalty_that_says_so_needs_lower_below_upper():
    penalties = [QuadraticPenalty(), ReLUPenalty(), LogBarrierExtension(), torch.nn.Softplus()]
    assert [needs_interior(penalty) for penalty in penalties] == [False, False, True, False]
