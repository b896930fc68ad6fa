# SPDX-License-Identifier: Apache-2.0
"""Constraints on several samples: equal volumes of two cases, areas of neighbouring slices."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.area_change import AreaChange
from wss_monai.functional.descriptors import Size
from wss_monai.losses import (
    AugmentedLagrangian,
    ConstraintLoss,
    EqualVolumeLoss,
    LogBarrierExtension,
    PrimalDual,
    QuadraticPenalty,
    ReLUPenalty,
    SmoothAreasLoss,
    WeightedSumLoss,
)

INF = math.inf
PENALTIES = [QuadraticPenalty(), ReLUPenalty(), LogBarrierExtension(50.0)]
DUALS = [AugmentedLagrangian(), PrimalDual(rate=0.3, damping=3.0)]
PAIR = torch.tensor([[0, 1, 0]])


def from_sizes(*sizes: float, shape: tuple[int, ...] = (4, 4)) -> torch.Tensor:
    """Logits (B, 2, *shape) whose class 1 has these soft sizes."""
    part = torch.tensor(sizes, dtype=torch.float64) / math.prod(shape)
    logits = torch.stack((torch.zeros_like(part), torch.log(part / (1 - part))), 1)
    return logits.view(len(sizes), 2, *[1] * len(shape)).expand(-1, -1, *shape).clone()


def bounds_of(*pairs: tuple[float, float]) -> torch.Tensor:
    """Bounds (B, 2, 1, 2) on class 1."""
    bounds = torch.tensor([-INF, INF], dtype=torch.float64).repeat(len(pairs), 2, 1, 1)
    bounds[:, 1, 0] = torch.tensor(pairs, dtype=torch.float64)
    return bounds


def one_ml(voxels: float, tolerance: float) -> tuple[float, float]:
    root = math.sqrt(1 + tolerance)
    return voxels / root, voxels * root


class TestEqualVolume:
    GROUP = torch.tensor([0, 0, 1, 1])

    def test_by_hand_on_slices(self):
        """8 voxels against 12, of the same size: z = log 1.5 - log 1.15 on one of two sides."""
        loss = EqualVolumeLoss(QuadraticPenalty(), floor=1e-9)
        bounds = bounds_of(*[one_ml(1.0, 0.15)] * 4)
        value = loss(from_sizes(3, 5, 4, 8), bounds, self.GROUP, pairs=PAIR)
        assert value.item() == pytest.approx(math.log(1.5 / 1.15) ** 2 / 2)
        assert loss.violation.item() == pytest.approx(math.log(1.5 / 1.15) / 2)

    def test_by_hand_in_3d(self):
        loss = EqualVolumeLoss(ReLUPenalty(), floor=1.0)
        logits = from_sizes(6, 12, shape=(2, 3, 4))
        value = loss(logits, bounds_of(*[one_ml(2.0, 0.3)] * 2), torch.tensor([4, 9]), pairs=torch.tensor([[4, 9, 0]]))
        assert value.item() == pytest.approx(math.log(7 / 4 / 1.3) / 2)  # 6 ml + 1 against 3 ml + 1

    def test_voxels_of_another_size_and_slices_that_stand_for_others(self):
        """3 x 4 + 5 voxels of which 17 are one ml, and 4 + 8 of which 12 are: both 1 ml."""
        loss = EqualVolumeLoss(QuadraticPenalty())
        bounds = bounds_of(*[one_ml(17.0, 0.05)] * 2, *[one_ml(12.0, 0.05)] * 2)
        weight = torch.tensor([4.0, 1.0, 1.0, 1.0])
        assert loss(from_sizes(3, 5, 4, 8), bounds, self.GROUP, pairs=PAIR, group_weight=weight).item() == 0

    def test_within_the_tolerance_a_barrier_keeps_both_sides(self):
        loss = EqualVolumeLoss(LogBarrierExtension(5.0), floor=1e-9)
        value = loss(from_sizes(4, 4), bounds_of(*[one_ml(1.0, 0.5)] * 2), torch.tensor([0, 1]), pairs=PAIR)
        assert value.item() == pytest.approx(-math.log(math.log(1.5)) / 5)

    @pytest.mark.parametrize("pairs", [PAIR[:0], torch.tensor([[0, 1, 0]])])
    def test_what_is_not_compared_costs_nothing(self, pairs):
        """No pair in the batch; or one case of the pair that lost its lower side, as a cut class has."""
        logits = from_sizes(3, 5, 4, 8).requires_grad_()
        bounds = bounds_of(*[one_ml(1.0, 0.15)] * 3, (-INF, 1.07))
        value = EqualVolumeLoss(PrimalDual())(logits, bounds, self.GROUP, pairs=pairs)
        value.backward()
        assert value.item() == 0 and logits.grad.abs().max() == 0

    def test_a_slice_without_the_class_cannot_cut_it(self):
        bounds = bounds_of(*[one_ml(1.0, 0.15)] * 3, (-INF, 1.07))
        tags = torch.tensor([[1, 1], [1, 1], [1, 1], [1, 0]])
        loss = EqualVolumeLoss(ReLUPenalty())
        value = loss(from_sizes(3, 5, 4, 1), bounds, self.GROUP, pairs=PAIR, slice_tags=tags)
        assert value.item() == pytest.approx(math.log(8.1 / 5.1 / 1.15) / 2)

    def test_an_unpaired_case_beside_a_pair(self):
        group = torch.tensor([2, 0, 1])
        bounds = bounds_of(*[one_ml(1.0, 0.15)] * 3)
        loss = EqualVolumeLoss(QuadraticPenalty())
        value = loss(from_sizes(1, 4, 8), bounds, group, pairs=PAIR)
        assert value.item() == pytest.approx(math.log(8.1 / 4.1 / 1.15) ** 2 / 2)

    def test_an_empty_class_is_filled(self):
        logits = from_sizes(1e-6, 8).requires_grad_()
        loss = EqualVolumeLoss(QuadraticPenalty())
        loss(logits, bounds_of(*[one_ml(1.0, 0.15)] * 2), torch.tensor([0, 1]), pairs=PAIR).backward()
        assert bool(logits.grad.isfinite().all()) and bool((logits.grad[0, 1] < 0).all())
        assert bool((logits.grad[1, 1] > 0).all())

    def test_gradient(self):
        logits = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        bounds = bounds_of(*[one_ml(1.0, 0.1)] * 4)
        loss = EqualVolumeLoss(LogBarrierExtension(5.0))
        assert torch.autograd.gradcheck(lambda z: loss(z, bounds, self.GROUP, pairs=PAIR), logits)

    @pytest.mark.parametrize("penalty", PENALTIES)
    def test_two_volumes_meet(self, penalty):
        """8 and 10.4 voxels, 30 % apart, with 5 % allowed."""
        logits = from_sizes(8, 10.4).requires_grad_()
        bounds, group = bounds_of(*[one_ml(1.0, 0.05)] * 2), torch.tensor([0, 1])
        loss = EqualVolumeLoss(penalty, floor=1e-6)
        optimizer = torch.optim.Adam([logits], lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            loss(logits, bounds, group, pairs=PAIR).backward()
            optimizer.step()
        first, second = Size()(logits.detach().softmax(1))[:, 1, 0].tolist()
        assert 1 / 1.055 < second / first < 1.055
        assert 8 < first < 10.4  # they meet in between

    @pytest.mark.parametrize("penalty", DUALS)
    def test_multipliers_find_the_edge_of_the_tolerance(self, penalty):
        """The same where each would rather stay as it is: what remains between them is what is allowed."""
        start = from_sizes(8, 10.4)
        logits = start.clone().requires_grad_()
        bounds, group = bounds_of(*[one_ml(1.0, 0.05)] * 2), torch.tensor([0, 1])
        loss = EqualVolumeLoss(penalty, floor=1e-6)
        for _ in range(300):
            value = loss(logits, bounds, group, pairs=PAIR) + 0.05 * (logits - start).square().sum()
            (gradient,) = torch.autograd.grad(value, logits)
            with torch.no_grad():
                logits -= gradient
            penalty.update()
        first, second = Size()(logits.detach().softmax(1))[:, 1, 0].tolist()
        assert second / first == pytest.approx(1.05, rel=1e-3)
        assert penalty.rows["multiplier"][0, 1, 0] > 0 == penalty.rows["multiplier"][0, 1, 1]

    def test_multipliers_are_those_of_the_pair(self):
        penalty = AugmentedLagrangian()
        loss = EqualVolumeLoss(penalty)
        arguments = from_sizes(3, 5, 4, 8).requires_grad_(), bounds_of(*[one_ml(1.0, 0.15)] * 4), self.GROUP
        loss(*arguments, pairs=torch.tensor([[0, 1, 2]]))
        penalty.update()
        assert penalty.rows["multiplier"].shape == (3, 2, 2)
        assert penalty.rows["multiplier"][2, 1].tolist() == pytest.approx([math.log(12.1 / 8.1 / 1.15), 0])
        assert penalty.rows["multiplier"][:2].abs().max() == 0

    def test_hard_violations(self):
        """Of the soft prediction 8 and 8.8 voxels, of the hard one 0 and 16."""
        penalty = PrimalDual(rate=1.0, violation="hard")
        loss = EqualVolumeLoss(penalty)
        loss(from_sizes(7.9, 8.8).requires_grad_(), bounds_of(*[one_ml(1.0, 0.2)] * 2), self.GROUP[1:3], pairs=PAIR)
        penalty.update()
        assert penalty.rows["multiplier"][0, 1, 0] == pytest.approx(math.log(16.1 / 0.1 / 1.2))

    def test_in_a_sum_under_autocast(self):
        loss = WeightedSumLoss({"equal": [EqualVolumeLoss(QuadraticPenalty()), 2.0]})
        logits, bounds = from_sizes(3, 5, 4, 8).bfloat16(), bounds_of(*[one_ml(1.0, 0.15)] * 4).float()
        target = {"bounds_equal": bounds, "volume": self.GROUP, "pairs": PAIR}
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(logits, target)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(math.log(12.1 / 8.1 / 1.15) ** 2, rel=0.05)
        assert loss.violations["equal"] > 0

    def test_refusals(self):
        loss, logits = EqualVolumeLoss(QuadraticPenalty()), from_sizes(3, 5)
        with pytest.raises(ValueError, match="pairs: patient"):
            loss(logits, bounds_of(*[one_ml(1.0, 0.15)] * 2), torch.tensor([0, 1]))
        with pytest.raises(ValueError, match=r"bounds must be \(B, K, 1, 2\)"):
            loss(logits, torch.zeros(2, 2, 2, 2), torch.tensor([0, 1]), pairs=PAIR)
        with pytest.raises(ValueError, match="floor must be a positive number"):
            EqualVolumeLoss(QuadraticPenalty(), floor=0)


SPACING = torch.tensor([[2.0, 0.5]], dtype=torch.float64)  # 1 mm2


def smooth(loss: SmoothAreasLoss, *sizes: float, limit: float = 0.2, step: float = 8.0, **also) -> torch.Tensor:
    """The loss of the slices of one volume, which all show the class unless tags say otherwise."""
    n = len(sizes)
    also = {"slice_tags": torch.ones(n, 2, dtype=torch.int64), **also}
    arguments = from_sizes(*sizes), bounds_of(*[(-INF, limit)] * n), torch.zeros(n, dtype=torch.int64)
    return loss(*arguments, step * torch.arange(n), SPACING.repeat(n, 1), **also)


class TestSmoothAreas:
    def test_by_hand(self):
        """Areas of 3, 5 and 12 mm2, 8 mm apart: 0.25 and 0.875 mm2 per mm, of 0.2 allowed."""
        loss = SmoothAreasLoss(QuadraticPenalty())
        assert smooth(loss, 3, 5, 12).item() == pytest.approx((0.25**2 + 3.375**2) / 2)
        assert loss.violation.item() == pytest.approx((0.25 + 3.375) / 2)
        assert smooth(loss, 3, 5, 12, limit=1.0).item() == 0

    def test_shares_of_the_mean_area(self):
        mean = (9 + 25 + 144) / 20
        value = smooth(SmoothAreasLoss(ReLUPenalty(), relative=True), 3, 5, 12, limit=0.05)
        assert value.item() == pytest.approx((7 / 8 / mean / 0.05 - 1) / 2)  # the first step is within

    def test_any_order_and_several_volumes(self):
        loss = SmoothAreasLoss(QuadraticPenalty())
        group, position = torch.tensor([1, 0, 1, 0, 1]), torch.tensor([16.0, 8.0, 0.0, 0.0, 8.0])
        bounds, tags = bounds_of(*[(-INF, 0.2)] * 5), torch.ones(5, 2, dtype=torch.int64)
        value = loss(from_sizes(12, 9, 3, 1, 5), bounds, group, position, SPACING.repeat(5, 1), slice_tags=tags)
        assert value.item() == pytest.approx((0.25**2 + 3.375**2 + 4.0**2) / 3)

    def test_an_organ_may_end_abruptly(self):
        """Nothing is said of the steps from 0 to 15 and from 15 to 1, where tags know of no class."""
        tags = torch.tensor([[1, 0], [1, 1], [1, 1], [1, 0]])
        assert smooth(SmoothAreasLoss(QuadraticPenalty()), 1, 15, 15, 1, slice_tags=tags).item() == 0
        unknown = {"slice_tags": torch.full((4, 2), -1)}
        assert smooth(SmoothAreasLoss(QuadraticPenalty()), 1, 15, 15, 1, **unknown).item() == 0
        assert smooth(SmoothAreasLoss(QuadraticPenalty()), 1, 15, 15, 1, slice_tags=None).item() == 0

    def test_a_gap_in_an_organ_counts(self):
        gap = {"slice_tags": torch.full((3, 2), -1)}
        assert smooth(SmoothAreasLoss(ReLUPenalty()), 15, 1, 15, **gap).item() == pytest.approx(14 / 8 / 0.2 - 1)

    def test_a_cut_class_has_no_bound(self):
        loss = SmoothAreasLoss(QuadraticPenalty())
        bounds = bounds_of((-INF, 0.2), (-INF, INF), (-INF, 0.2))
        place, tags = 8.0 * torch.arange(3), torch.ones(3, 2, dtype=torch.int64)
        arguments = from_sizes(3, 5, 12), bounds, torch.zeros(3), place, SPACING.repeat(3, 1)
        assert loss(*arguments, slice_tags=tags).item() == 0
        tags[1, 1] = 0  # known to be without the class, whatever left the frame: both steps count
        assert loss(*arguments, slice_tags=tags).item() > 0

    def test_one_slice_costs_nothing(self):
        assert smooth(SmoothAreasLoss(AugmentedLagrangian()), 5.0, key=torch.tensor([3])).item() == 0

    def test_gradient(self):
        logits = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        loss = SmoothAreasLoss(QuadraticPenalty())
        group, place = torch.tensor([0, 0, 1, 1]), torch.tensor([0.0, 2.0, 0.0, 2.0])
        about = bounds_of(*[(-INF, 0.01)] * 4), group, place, SPACING.repeat(4, 1)
        tags = torch.ones(4, 2, dtype=torch.int64)
        assert torch.autograd.gradcheck(lambda z: loss(z, *about, slice_tags=tags), logits)

    @pytest.mark.parametrize("penalty", PENALTIES)
    def test_areas_become_smooth(self, penalty):
        logits = from_sizes(4, 12, 5).requires_grad_()
        loss = SmoothAreasLoss(penalty)
        about = bounds_of(*[(-INF, 0.25)] * 3), torch.zeros(3), 8.0 * torch.arange(3), SPACING.repeat(3, 1)
        optimizer = torch.optim.Adam([logits], lr=0.01)
        tags = torch.ones(3, 2, dtype=torch.int64)
        for _ in range(150):
            optimizer.zero_grad()
            loss(logits, *about, slice_tags=tags).backward()
            optimizer.step()
        areas = Size()(logits.detach().softmax(1))[:, 1, 0]
        assert float(areas.diff().abs().max()) < 1.05 * 2
        assert float(areas.min()) > 3.5  # nothing vanishes

    def test_multipliers_are_those_of_the_slice_before(self):
        penalty = AugmentedLagrangian()
        smooth(SmoothAreasLoss(penalty), 3, 5, 12, key=torch.tensor([7, 4, 2]))
        penalty.update()
        assert penalty.rows["multiplier"].shape == (8, 2, 2)
        assert penalty.rows["multiplier"][[7, 4], 1, 1].tolist() == pytest.approx([0.25, 3.375])

    def test_as_in_3d(self):
        """A volume of slices and the descriptor along its slice axis say the same."""
        slices = torch.randn(5, 3, 6, 4, generator=torch.Generator().manual_seed(0)) * 3
        spacing = torch.tensor([[1.5, 2.0]])
        bounds = torch.tensor([-INF, 0.3]).repeat(5, 3, 1, 1)
        loss = SmoothAreasLoss(QuadraticPenalty())
        value = loss(slices, bounds, torch.zeros(5), 7.0 * torch.arange(5), spacing.repeat(5, 1))
        volume, spacing = slices.permute(1, 2, 3, 0)[None], torch.tensor([[1.5, 2.0, 7.0]])
        constraint = ConstraintLoss(AreaChange(), QuadraticPenalty())
        constraint(volume, bounds[:1], spacing=spacing)
        assert value > 0 and loss.violation.item() == pytest.approx(constraint.violation.item())
