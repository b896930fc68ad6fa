# SPDX-License-Identifier: Apache-2.0
"""Multipliers step by step as those of Cooper 1.0.1 (https://github.com/cooper-org/cooper).

Both take the violation at the same point for the step of x and for that of the multipliers, cut these at 0, and have
the same augmented Lagrangian. Two differences: Cooper's running mean (nuPI) starts at 0 in its code, where ours
and its documentation start with the first violation; and with a rate below r, where a bound holds by more than m / r,
our multiplier shrinks by the share rate / r, Cooper's by rate x |z|.
"""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD

from wss_monai.losses import AugmentedLagrangian, PrimalDual

cooper = pytest.importorskip("cooper", reason="needs cooper-optim, with which the multipliers are compared")
A = torch.tensor([[2.0, -1.0, 1.5]])
BOUND = torch.tensor([[1.0, 1.0, 1.2]])
KEY = torch.tensor([0])


def objective(x):
    """Half of the squared distance to A; x is to stay below BOUND."""
    return ((x - A) ** 2).sum() / 2


def ours(penalty, steps, start):
    """x and multipliers after each step."""
    x = torch.full_like(A, start).requires_grad_()
    optimizer = SGD([x], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (objective(x) + penalty(x - BOUND, KEY).sum()).backward()
        optimizer.step()
        penalty.update()
        yield x.detach()[0].clone(), penalty.rows["multiplier"][0].clone()


def theirs(formulation, dual, steps, start, penalty=None):
    """The same by Cooper's simultaneous steps."""
    multiplier = cooper.multipliers.DenseMultiplier(num_constraints=A.numel())
    more = {} if penalty is None else {"penalty_coefficient": penalty}

    class Problem(cooper.ConstrainedMinimizationProblem):
        def __init__(self):
            super().__init__()
            inequality = cooper.ConstraintType.INEQUALITY
            self.bound = cooper.Constraint(
                constraint_type=inequality, formulation_type=formulation, multiplier=multiplier, **more
            )

        def compute_cmp_state(self, x):
            state = cooper.ConstraintState(violation=(x - BOUND).flatten())
            return cooper.CMPState(loss=objective(x), observed_constraints={self.bound: state})

    problem = Problem()
    x = torch.nn.Parameter(torch.full_like(A, start))
    dual, first = dual(problem.dual_parameters()), (x - BOUND)[0].detach().clone()
    optimizer = cooper.optim.SimultaneousOptimizer(cmp=problem, primal_optimizers=SGD([x], 0.05), dual_optimizers=dual)
    for step in range(steps):
        optimizer.roll(compute_cmp_state_kwargs={"x": x})
        if step == 0 and isinstance(dual, cooper.optim.nuPI):
            dual.state[multiplier.weight]["xi"] = first
        yield x.detach()[0].clone(), multiplier.weight.detach().clone()


def equal_steps(first, second):
    """The number of steps in which both are equal to 1e-6."""
    count = 0
    for (x, m), (other_x, other_m) in zip(first, second, strict=True):
        torch.testing.assert_close(x, other_x, rtol=0, atol=1e-6)
        torch.testing.assert_close(m, other_m, rtol=0, atol=1e-6)
        count += 1
    return count


def ascent(rate):
    return lambda parameters: SGD(parameters, rate, maximize=True)


def nupi(rate, damping, memory):
    return lambda parameters: cooper.optim.nuPI(parameters, lr=1.0, Kp=damping, Ki=rate, ema_nu=memory, maximize=True)


@pytest.mark.parametrize("start", [0.0, 3.0])
@pytest.mark.parametrize(
    ("settings", "dual"),
    [
        ({"rate": 0.2}, lambda: ascent(0.2)),
        ({"rate": 0.2, "damping": 0.2}, lambda: nupi(0.2, 0.2, 0.0)),  # optimistic
        ({"rate": 0.2, "damping": 1.0, "memory": 0.5}, lambda: nupi(0.2, 1.0, 0.5)),
    ],
)
def test_primal_dual_steps_are_coopers(settings, dual, start):
    other = theirs(cooper.formulations.Lagrangian, dual(), 400, start)
    assert equal_steps(ours(PrimalDual(**settings), 400, start), other) == 400


def augmented(steps, start, rate):
    penalty = cooper.penalty_coefficients.DensePenaltyCoefficient(init=torch.tensor(1.0))
    return theirs(cooper.formulations.AugmentedLagrangian, ascent(rate), steps, start, penalty)


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_augmented_lagrangian_steps_are_coopers(start):
    assert equal_steps(ours(AugmentedLagrangian(), 400, start), augmented(400, start, 1.0)) == 400


def test_a_slow_augmented_lagrangian_is_coopers_until_a_bound_holds_well():
    mine = list(ours(AugmentedLagrangian(rate=0.1), 400, 3.0))
    held = [bool(((x - BOUND[0] + m < 0) & (m > 0)).any()) for x, m in mine]
    until = held.index(True) + 1 if any(held) else 400
    assert 10 < until < 400
    assert equal_steps(mine[:until], list(augmented(400, 3.0, 0.1))[:until]) == until
    torch.testing.assert_close(mine[-1][1], torch.tensor([1.0, 0.0, 0.3]), rtol=0, atol=1e-3)
