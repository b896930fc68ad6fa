# SPDX-License-Identifier: Apache-2.0
"""Constraints by duality: updates by hand, known optima of a convex problem for all enforcers, state, processes."""

from __future__ import annotations

import io
import math

import pytest
import torch
from ignite.engine import Engine
from torch.optim import SGD

from wss_monai.functional.box_descriptors import BoxStrips
from wss_monai.functional.descriptors import Size
from wss_monai.handlers import Multipliers, UpdateMultipliers
from wss_monai.losses import (
    AugmentedLagrangian,
    ConstraintLoss,
    LogBarrierExtension,
    PrimalDual,
    QuadraticPenalty,
    ReLUPenalty,
    WeightedSumLoss,
    enforcer,
)

KEY = torch.tensor([0])


def visited(penalty, z, key=KEY, **more):
    """One step's call and update; the cost."""
    cost = penalty.train()(torch.tensor(z)[None], key, **more)
    penalty.update()
    return cost


def multiplier(penalty, key=0):
    return penalty.rows["multiplier"][key].tolist()


def test_augmented_lagrangian_by_hand():
    penalty = AugmentedLagrangian(penalty=2.0)
    assert visited(penalty, [0.5, -1.0]).tolist() == [[pytest.approx(0.25), 0.0]]  # (2 x .5)^2 / 4
    assert multiplier(penalty) == [1.0, 0.0]
    assert visited(penalty, [-0.2, 0.0]).tolist() == [[pytest.approx((0.6**2 - 1) / 4), 0.0]]
    assert multiplier(penalty) == [pytest.approx(0.6), 0.0]
    visited(penalty, [-5.0, 0.0])
    assert multiplier(penalty) == [0.0, 0.0]
    slow = AugmentedLagrangian(penalty=2.0, rate=0.5)
    visited(slow, [1.0])
    assert multiplier(slow) == [0.5]


def test_primal_dual_by_hand():
    penalty = PrimalDual(rate=0.5, start=1.0)
    assert visited(penalty, [2.0, -4.0]).tolist() == [[2.0, -4.0]]
    assert multiplier(penalty) == [2.0, 0.0]  # 1 + .5 x 2; 1 - 2, cut at 0
    optimistic = PrimalDual(rate=0.5, damping=0.5)
    visited(optimistic, [1.0])
    visited(optimistic, [3.0])
    assert multiplier(optimistic) == [0.5 + 0.5 * 3 + 0.5 * (3 - 1)]
    nupi = PrimalDual(rate=0.5, damping=2.0, memory=0.5)
    visited(nupi, [1.0])
    visited(nupi, [3.0])  # running mean 1, then 2
    assert multiplier(nupi) == [0.5 + 1.5 + 2.0 * (2 - 1)]


def test_each_sample_has_its_own_and_sides_that_are_not_there_stay():
    penalty = PrimalDual(rate=1.0)
    known = torch.tensor([[True, False], [True, True]])
    penalty.train()(torch.tensor([[1.0, 9.0], [2.0, 3.0]]), torch.tensor([4, 1]), known=known)
    penalty.update()
    assert penalty.rows["multiplier"].tolist() == [[0, 0], [2, 3], [0, 0], [0, 0], [1, 0]]
    penalty.update()  # nothing was called since
    with torch.no_grad():
        penalty(torch.ones(1, 2), torch.tensor([1]))
    penalty.eval()(torch.ones(1, 2), torch.tensor([1]))
    penalty.update()
    assert multiplier(penalty, 1) == [2, 3]


@pytest.mark.parametrize(
    ("penalty", "weight", "expected"),
    [
        (QuadraticPenalty(), 4.0, [(2 + 2 * 4 * 1) / (1 + 2 * 4), -1.0]),  # (a + 2 w b) / (1 + 2 w)
        (ReLUPenalty(), 4.0, [1.0, -1.0]),
        (LogBarrierExtension(t=1000.0), 1.0, [1.0, -1.0]),
        (AugmentedLagrangian(penalty=1.0), 1.0, [1.0, -1.0]),
        (PrimalDual(rate=0.2, damping=1.0), 1.0, [1.0, -1.0]),
        (PrimalDual(rate=0.2, damping=2.0, memory=0.5), 1.0, [1.0, -1.0]),
    ],
)
def test_known_optimum_of_a_convex_problem(penalty, weight, expected):
    """Minimise half of (x - a)^2 with a = (2, -1) where x <= b = 1: x = (1, -1), multipliers (1, 0)."""
    a, b = torch.tensor([[2.0, -1.0]], dtype=torch.float64), 1.0
    x = torch.zeros_like(a).requires_grad_()
    steep = isinstance(penalty, LogBarrierExtension)  # near the bound, too steep for plain steps
    optimizer = torch.optim.LBFGS([x], max_iter=50, line_search_fn="strong_wolfe") if steep else SGD([x], 0.05)

    def value():
        optimizer.zero_grad()
        z = x - b
        cost = penalty(z, KEY) if hasattr(penalty, "keyed") else penalty(z)
        total = ((x - a) ** 2).sum() / 2 + weight * cost.sum()
        total.backward()
        return total

    for step in range(20 if steep else 4000):
        if step == 3000:
            optimizer.param_groups[0]["lr"] = 2e-4  # past the kink of the exact penalty
        optimizer.step(value)
        if hasattr(penalty, "keyed"):
            penalty.update()
    assert x[0].tolist() == pytest.approx(expected, abs=1e-3)
    if hasattr(penalty, "keyed"):
        assert multiplier(penalty) == pytest.approx([1.0, 0.0], abs=1e-3)
    if isinstance(penalty, LogBarrierExtension):  # its slope is the multiplier
        z = (x - b).detach().requires_grad_()
        penalty(z).sum().backward()
        assert z.grad[0].tolist() == pytest.approx([1.0, 0.0], abs=1.1e-3)


@pytest.mark.parametrize(
    "penalty",
    [
        AugmentedLagrangian(penalty=1.0, per="set", tolerance=0.25),
        PrimalDual(rate=0.2, damping=1.0, per="set", tolerance=0.25),
    ],
)
def test_known_optimum_with_one_multiplier_for_the_set(penalty):
    """Half of (x - a)^2 with a = (2, 1.5, -1), where the mean of max(x - 1, 0) is at most 1/4: two share a multiplier
    m, x = a - m / 3 where it is above 1, so 1 + 0.5 - 2 m / 3 = 3 / 4."""
    a = torch.tensor([[2.0], [1.5], [-1.0]], dtype=torch.float64)
    x = torch.zeros_like(a).requires_grad_()
    optimizer = SGD([x], 0.05)
    for _ in range(1200):
        optimizer.zero_grad()
        (((x - a) ** 2).sum() / 2 + penalty(x - 1.0).mean()).backward()
        optimizer.step()
        penalty.update()
    assert x[:, 0].tolist() == pytest.approx([1.625, 1.125, -1.0], abs=1e-3)
    assert multiplier(penalty) == pytest.approx([1.125], abs=1e-3) and len(penalty.rows["multiplier"]) == 1


def test_one_multiplier_for_the_set_by_hand():
    """Of the first side two samples have 1 and -3 (mean violation 1/2), of the second one 0.2 and one no bound."""
    penalty = PrimalDual(rate=2.0, per="set", tolerance=0.1).train()
    z = torch.tensor([[1.0, 0.2], [-3.0, 9.0]])
    known = torch.tensor([[True, True], [True, False]])
    assert penalty(z, torch.tensor([5, 3]), known=known).tolist() == [[0, 0], [0, 0]]
    penalty.update()
    assert multiplier(penalty) == pytest.approx([0.8, 0.2])  # 2 x (1/2 - 0.1), 2 x (0.2 - 0.1)
    assert penalty(z, known=known)[0].tolist() == pytest.approx([0.8 * 0.4, 0.2 * 0.1])
    penalty(-z.abs(), known=torch.tensor([[True, False]] * 2))
    penalty.update()
    assert multiplier(penalty) == pytest.approx([0.6, 0.2])  # a side that no sample of the batch has stays
    lagrangian = AugmentedLagrangian(penalty=2.0, rate=0.5, per="set", tolerance=0.1, start=1.0).train()
    assert lagrangian(z[:1]).tolist() == [[pytest.approx((2.8**2 - 1) / 4), pytest.approx((1.2**2 - 1) / 4)]]
    lagrangian.update()
    assert multiplier(lagrangian) == pytest.approx([1 + 0.5 * 0.9, 1 + 0.5 * 0.1])


def sum_of(penalty, **settings):
    return WeightedSumLoss({"size": (ConstraintLoss(Size(), penalty, **settings), 1.0)})


def target(count=2, low=0.0, high=6.0, keys=None):
    bounds = torch.tensor([low, high]).repeat(count, 2, 1, 1)
    bounds[:, 0] = torch.tensor([-torch.inf, torch.inf])
    return {"bounds_size": bounds, "sample": torch.arange(count) if keys is None else torch.tensor(keys)}


def test_constraint_in_training_finds_the_size():
    """Four by four voxels that prefer class 1 are held at half of the image by their multipliers."""
    torch.manual_seed(0)
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    loss = sum_of(AugmentedLagrangian(penalty=1.0)).train()
    multipliers = Multipliers(loss)
    optimizer = SGD([logits], 1.0)

    def step(_engine, _batch):
        optimizer.zero_grad()
        (((logits[:, 1] - logits[:, 0] - 2) ** 2).mean() + 2 * loss(logits, target(high=8.0))).backward()
        optimizer.step()

    UpdateMultipliers(multipliers).attach(engine := Engine(step))
    engine.run([0] * 800, max_epochs=1)
    assert Size()(logits.softmax(1))[:, 1, 0].tolist() == pytest.approx([8, 8], abs=0.05)
    assert multipliers.logged["multiplier_max_size"] > 0 and 0 < multipliers.logged["multiplier_active_size"] <= 1


def test_hard_sizes_move_the_multipliers_and_soft_ones_the_network():
    # all 16 voxels are class 1 with probability .6: 9.6 softly, 16 as predicted; the upper bound is 12
    logits = torch.tensor([0.4, 0.6]).log().view(1, 2, 1, 1).repeat(1, 1, 4, 4).requires_grad_()
    for kind, expected in (("soft", 0.0), ("hard", (16 - 12) / 12)):
        loss = sum_of(PrimalDual(rate=1.0, violation=kind), classes=[1], scale=12.0).train()
        loss(logits, target(1, high=12.0)).backward()
        Multipliers(loss).update()
        assert loss.terms["size"].penalty.rows["multiplier"][0, 0, 0].tolist() == [0, pytest.approx(expected)]


def test_groups_are_remembered_by_their_numbers():
    loss = sum_of(PrimalDual(rate=1.0), scale=1.0).train()
    batch = {**target(4, high=1.0), "group_size": torch.tensor([7, 2, 7, 2])}
    loss(torch.zeros(4, 2, 2, 2, requires_grad=True), batch)
    Multipliers(loss).update()
    rows = loss.terms["size"].penalty.rows["multiplier"]
    assert len(rows) == 8 and rows[[2, 7], 1, 0, 1].tolist() == [3.0, 3.0]  # 2 slices of 2 voxels, over a bound of 1
    assert float(rows.sum()) == 6.0


def test_strips_of_a_box_share_the_multiplier_of_the_worst():
    """A box of 2 x 4 voxels: with strips of 2 lines one along the first axis and two along the second; then 2 x 2."""
    loss = WeightedSumLoss({"t": (ConstraintLoss(BoxStrips(width=2), PrimalDual(rate=1.0), scale=1.0), 1.0)}).train()
    bounds = torch.tensor([[-torch.inf, torch.inf], [1.0, torch.inf]]).view(1, 2, 1, 2)
    boxes = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    probs = torch.zeros(1, 4, 4)
    boxes[..., :2, :] = 1
    probs[..., 0, 0], probs[..., 1, 1] = 0.4, 0.8  # strips: (0.4 + 0.8) / 2, the same, and 0
    target = {"bounds_t": bounds, "region_t": boxes, "sample": torch.tensor([0])}
    logits = torch.stack((1 - probs, probs), 1).clamp(min=1e-6).log().requires_grad_()
    loss(logits, target)
    Multipliers(loss).update()
    rows = loss.terms["t"].penalty.rows["multiplier"]
    assert rows.shape == (1, 2, 1, 2) and rows[0, 1, 0, 0] == pytest.approx(1.0, abs=1e-4)
    boxes[..., 2:] = 0  # one strip along each axis, 0.6
    assert loss(logits, target).item() == pytest.approx(0.4, abs=1e-4)
    Multipliers(loss).update()
    assert loss.terms["t"].penalty.rows["multiplier"][0, 1, 0, 0] == pytest.approx(1.4, abs=1e-4)


def test_state_goes_through_a_checkpoint_bit_for_bit():
    loss = sum_of(PrimalDual(rate=0.3, damping=0.2, memory=0.5)).train()
    logits = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def visit(each, keys):
        value = each(logits, target(high=3.0, keys=keys))
        Multipliers(each).update()
        return value

    visit(loss, [0, 5])
    torch.save(loss.state_dict(), file := io.BytesIO())
    file.seek(0)
    other = sum_of(PrimalDual(rate=0.3, damping=0.2, memory=0.5)).train()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(visit(loss, [5, 3]), visit(other, [5, 3]))
    first, second = (each.terms["size"].penalty.rows for each in (loss, other))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_multipliers_of_the_set_go_through_a_checkpoint_and_between_processes():
    first, second = (PrimalDual(rate=1.0, per="set", tolerance=0.0).train() for _ in range(2))
    for penalty, z in ((first, [[1.0], [0.0]]), (second, [[2.0], [3.0]])):
        penalty(torch.tensor(z))
        penalty.update()
    parts = [first.take_changes(), second.take_changes()]
    for penalty in (first, second):
        penalty.put_changes(parts)
        assert penalty.rows["multiplier"].tolist() == [[1.5]]  # the mean of 0.5 and 2.5
    other = PrimalDual(rate=1.0, per="set")
    other.set_extra_state(first.get_extra_state())
    assert other.rows["multiplier"].tolist() == [[1.5]]


def test_changes_of_processes_are_put_together():
    first, second = PrimalDual(rate=1.0).train(), PrimalDual(rate=1.0).train()
    for penalty, keys, z in ((first, [0, 3], [[1.0], [2.0]]), (second, [3, 1], [[4.0], [5.0]])):
        penalty(torch.tensor(z), torch.tensor(keys))
        penalty.update()
    parts = [first.take_changes(), second.take_changes()]
    for penalty in (first, second):
        penalty.put_changes(parts)
        assert penalty.rows["multiplier"][:, 0].tolist() == [1, 5, 0, 3]  # 2 and 4 of the sample that both saw
    assert len(first.take_changes()["key"]) == 0
    first.put_changes([first.take_changes()] * 2)


def test_no_multipliers_nothing_to_do():
    multipliers = Multipliers(sum_of(QuadraticPenalty()))
    UpdateMultipliers(multipliers).attach(engine := Engine(lambda _engine, _batch: None))
    engine.run([0])
    assert multipliers.logged == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AugmentedLagrangian(penalty=0), "penalty must be a positive number"),
        (lambda: AugmentedLagrangian(penalty=1, rate=2), "rate must be at most penalty, 1.0, got 2.0"),
        (lambda: PrimalDual(rate=-1), "rate must be a positive number"),
        (lambda: PrimalDual(damping=-1), "damping must be at least 0"),
        (lambda: PrimalDual(memory=1), "memory must be at least 0 and less than 1"),
        (lambda: PrimalDual(damping=math.inf), "damping must be at least 0, got inf"),
        (lambda: PrimalDual(damping="x"), "damping must be at least 0, got 'x'"),
        (lambda: PrimalDual(damping=True), "damping must be at least 0, got True"),
        (lambda: PrimalDual(memory="x"), "memory must be at least 0 and less than 1, got 'x'"),
        (lambda: enforcer("x"), r"enforcer must be one of \['quadratic', .* got 'x'"),
        (lambda: enforcer(["relu"]), "enforcer must be one of"),
        (lambda: enforcer("relu", {"rely": {}}), r"enforcers must hold settings of some of .* got \{'rely': \{\}\}"),
        (lambda: enforcer("relu", 5), "enforcers must hold settings of some of .* got 5"),
        (
            lambda: enforcer("primal_dual", {"primal_dual": [1]}),
            r"enforcers#primal_dual must be settings by name",
        ),
        (
            lambda: enforcer("primal_dual", {"primal_dual": {"rate": -1}}),
            "enforcers#primal_dual: rate must be",
        ),
        (
            lambda: enforcer("primal_dual", {"primal_dual": {"rat": 1}}),
            "enforcers#primal_dual has settings that",
        ),
        (lambda: PrimalDual(start=-1), "start must be a number of at least 0"),
        (lambda: PrimalDual(violation="firm"), r"violation must be one of \['soft', 'hard'\], got 'firm'"),
        (lambda: PrimalDual(per="class"), r"per must be one of \['sample', 'set'\], got 'class'"),
        (lambda: PrimalDual(tolerance=-0.1), "tolerance must be a number of at least 0, got -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_missing_or_shared_is_told():
    loss = sum_of(PrimalDual())
    batch = target()
    del batch["sample"]
    with pytest.raises(ValueError, match=r"PrimalDual remembers each sample: give key \(B,\)"):
        loss(torch.zeros(2, 2, 4, 4), batch)
    shared = sum_of(PrimalDual(per="set"))
    assert float(shared(torch.zeros(2, 2, 4, 4), batch)) == 0  # which needs no numbers
    penalty = PrimalDual().train()
    penalty(torch.zeros(1, 2), KEY)
    penalty.update()
    with pytest.raises(ValueError, match="give each constraint a penalty of its own"):
        penalty(torch.zeros(1, 3), KEY)
