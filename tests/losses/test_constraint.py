# SPDX-License-Identifier: Apache-2.0
"""Constraint = descriptor x bounds x penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from wss_monai.functional.descriptors import DESCRIPTORS, Centroid, PerimeterToArea, Size, Spread
from wss_monai.functional.relations import RELATIONS
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, QuadraticPenalty, ReLUPenalty

INF = math.inf
ALL = [*(descriptor() for descriptor in DESCRIPTORS), *(relation(1) for relation in RELATIONS)]
PENALTIES = [QuadraticPenalty(), ReLUPenalty(), LogBarrierExtension(5.0)]
SHAPES = [(2, 3, 6, 5), (2, 3, 4, 5, 3)]


def make(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spacing_for(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([[1.5, 0.8, 3.0]], dtype=torch.float64)[:, : len(shape) - 2].repeat(shape[0], 1)


def some_bounds(descriptor, shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    """Bounds around a measure of other logits: violated, satisfied, one-sided and missing ones."""
    measure = descriptor(torch.softmax(make(shape, seed), 1), spacing=spacing_for(shape))
    width = 0.05 * measure.abs() + 0.01
    bounds = torch.stack((measure - width, measure + width), -1)
    bounds[0, 0, :, 0] = -INF
    bounds[0, 1, :, 1] = INF
    bounds[1, 2] = torch.tensor([-INF, INF])
    return bounds


def by_loops(descriptor, penalty, logits, bounds, spacing) -> float:
    """The definition, one side at a time."""
    measure = descriptor(torch.softmax(logits, 1), spacing=spacing)
    scale = descriptor.scale(bounds, tuple(logits.shape[2:]))
    samples = []
    for b in range(bounds.shape[0]):
        costs = []
        for k in range(bounds.shape[1]):
            for m in range(bounds.shape[2]):
                for side, sign in ((0, -1), (1, 1)):
                    limit = bounds[b, k, m, side].item()
                    if math.isfinite(limit):
                        z = sign * (measure[b, k, m] - limit) / scale[b, k, m, side]
                        costs.append(penalty(z).item())
        samples.append(sum(costs) / len(costs) if costs else 0.0)
    return sum(samples) / len(samples)


def from_sizes(*sizes: float, voxels: int = 16) -> torch.Tensor:
    """Logits (B, 2, 4, 4) whose class 1 has these soft sizes."""
    part = torch.tensor(sizes, dtype=torch.float64) / voxels
    logits = torch.stack((torch.zeros_like(part), torch.log(part / (1 - part))), 1)
    return logits[:, :, None, None].expand(-1, -1, 4, 4).clone()


def size_bounds(*pairs: tuple[float, float]) -> torch.Tensor:
    """Bounds (B, 2, 1, 2) on class 1."""
    bounds = torch.tensor([-INF, INF], dtype=torch.float64).repeat(len(pairs), 2, 1, 1)
    bounds[:, 1, 0] = torch.tensor(pairs, dtype=torch.float64)
    return bounds


class TestHandValues:
    def test_too_large(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        value = loss(from_sizes(12.0), size_bounds((2.0, 8.0)))
        assert value.item() == pytest.approx(((12 - 8) / 8) ** 2 / 2)  # two finite sides
        assert loss.violation.item() == pytest.approx(0.5 / 2)

    def test_too_small(self):
        loss = ConstraintLoss(Size(), ReLUPenalty())
        assert loss(from_sizes(3.0), size_bounds((6.0, INF))).item() == pytest.approx(0.5)

    def test_satisfied_and_unbounded_cost_nothing(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        assert loss(from_sizes(5.0), size_bounds((2.0, 8.0))).item() == 0
        logits = from_sizes(5.0).requires_grad_()
        value = loss(logits, size_bounds((-INF, INF)))
        value.backward()
        assert value.item() == 0
        assert logits.grad.abs().max() == 0

    def test_log_barrier(self):
        loss = ConstraintLoss(Size(), LogBarrierExtension(5.0))
        z = torch.tensor([(2 - 5) / 2, (5 - 8) / 8], dtype=torch.float64)
        expected = -(-z).log() / 5
        torch.testing.assert_close(loss(from_sizes(5.0), size_bounds((2.0, 8.0))), expected.mean())
        assert loss.violation.item() == 0

    @pytest.mark.parametrize(("scale", "divisor"), [("domain", 16.0), (4.0, 4.0), (2, 2.0)])
    def test_other_scales(self, scale, divisor):
        loss = ConstraintLoss(Size(), QuadraticPenalty(), scale=scale)
        value = loss(from_sizes(12.0), size_bounds((-INF, 8.0)))
        assert value.item() == pytest.approx((4 / divisor) ** 2)

    def test_the_tutorials_penalty_is_a_choice_of_scale(self):
        """Their naive size loss is [relu(s - u)^2 + relu(l - s)^2] / |domain|."""
        logits, bounds = make(SHAPES[0]), some_bounds(Size(), SHAPES[0]).nan_to_num(posinf=1e6, neginf=-1e6)
        size = torch.softmax(logits, 1).sum((2, 3))
        lower, upper = bounds[:, :, 0, 0], bounds[:, :, 0, 1]
        published = ((size - upper).relu() ** 2 + (lower - size).relu() ** 2) / 30
        ours = ConstraintLoss(Size(), QuadraticPenalty(), scale=math.sqrt(30))(logits, bounds)
        torch.testing.assert_close(ours, published.mean() / 2)

    @pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
    def test_the_published_form(self, shape):
        """Violations in voxels, summed over classes and both sides, divided by the voxels, mean over the batch."""
        logits, bounds = make(shape), some_bounds(Size(), shape)
        size = torch.softmax(logits, 1).flatten(2).sum(-1)
        lower, upper = bounds[:, :, 0, 0], bounds[:, :, 0, 1]
        squares = (size - upper).relu() ** 2 + (lower - size).relu() ** 2
        voxels = math.prod(logits.shape[2:])
        ours = ConstraintLoss(Size(), QuadraticPenalty(), published=True)(logits, bounds)
        torch.testing.assert_close(ours, squares.nan_to_num(posinf=0).sum(1).mean() / voxels)
        barrier = LogBarrierExtension(2.0)
        sides = [barrier(v[v.isfinite()]).sum() for v in (size - upper, lower - size)]
        ours = ConstraintLoss(Size(), barrier, published=True)(logits, bounds)
        torch.testing.assert_close(ours, sum(sides) / len(logits) / voxels)
        with pytest.raises(ValueError, match="leave scale out"):
            ConstraintLoss(Size(), barrier, scale=3.0, published=True)

    def test_absent_class_is_driven_to_nothing(self):
        logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.1)
        loss = ConstraintLoss(Size(), LogBarrierExtension(20.0))
        for _ in range(300):
            optimiser.zero_grad()
            loss(logits, size_bounds((-INF, 0.0))).backward()
            optimiser.step()
        assert torch.softmax(logits, 1)[:, 1].sum() < 0.05


@pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
class TestEvery:
    def test_vectorised_equals_one_side_at_a_time(self, descriptor, penalty, shape):
        logits, bounds, spacing = make(shape), some_bounds(descriptor, shape), spacing_for(shape)
        value = ConstraintLoss(descriptor, penalty)(logits, bounds, spacing=spacing)
        assert value.item() == pytest.approx(by_loops(descriptor, penalty, logits, bounds, spacing), rel=1e-12)

    def test_gradcheck(self, descriptor, penalty, shape):
        shape = (*shape[:2], *(min(size, 3) for size in shape[2:]))
        logits, bounds, spacing = make(shape), some_bounds(descriptor, shape), spacing_for(shape)
        loss = ConstraintLoss(descriptor, penalty)
        assert torch.autograd.gradcheck(lambda z: loss(z, bounds, spacing=spacing), logits.requires_grad_(), atol=1e-5)


@pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
class TestPrecision:
    def test_autocast_gives_the_float32_result(self, descriptor):
        shape = (2, 3, 16, 12)
        logits, bounds = make(shape).float(), some_bounds(descriptor, shape).float()
        spacing = spacing_for(shape).float()
        loss = ConstraintLoss(descriptor, LogBarrierExtension(5.0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = loss(logits, bounds, spacing=spacing)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, loss(logits, bounds, spacing=spacing), rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("handed", [False, True])
    def test_half_logits_of_a_whole_slice(self, descriptor, dtype, handed):
        logits = torch.zeros(1, 2, 256, 256, dtype=dtype)
        logits[:, 1] = 6
        bounds = torch.tensor([-INF, 60000.0]).repeat(1, 2, descriptor.components(2), 1)
        bounds[:, 1, :, 1] = 70000.0
        loss = ConstraintLoss(descriptor, QuadraticPenalty())
        probs = torch.softmax(logits, 1) if handed else None
        value = loss(logits.requires_grad_(), bounds, probs=probs)
        reference = loss(logits.detach().float(), bounds, probs=None if probs is None else probs.float())
        assert value.isfinite()
        torch.testing.assert_close(value, reference)

    @pytest.mark.parametrize("t", [1.0, 1e3, 1e6])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_finite_gradient_where_a_class_is_absent(self, descriptor, t, dtype):
        logits = torch.zeros(1, 2, 8, 8, dtype=dtype)
        logits[:, 0] = 300  # class 1 underflows to exactly nothing
        bounds = torch.tensor([[-INF, INF], [-INF, 0.0]])[None, :, None].repeat(1, 1, descriptor.components(2), 1)
        value = ConstraintLoss(descriptor, LogBarrierExtension(t))(logits.requires_grad_(), bounds)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


class TestBatch:
    def test_cost_of_a_sample_does_not_depend_on_its_batch(self):
        shape = (2, 3, 6, 5)
        logits, bounds = make(shape), some_bounds(Size(), shape)
        loss = ConstraintLoss(Size(), LogBarrierExtension(5.0))
        alone = [loss(logits[i : i + 1], bounds[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(loss(logits, bounds), sum(alone) / 2)
        twice = loss(torch.cat((logits, logits)), torch.cat((bounds, bounds)))
        torch.testing.assert_close(twice, loss(logits, bounds))

    def test_samples_without_bounds_count_zero(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        one = loss(from_sizes(12.0), size_bounds((2.0, 8.0)))
        mixed = loss(from_sizes(12.0, 1.0, 15.0), size_bounds((2.0, 8.0), (-INF, INF), (-INF, INF)))
        torch.testing.assert_close(mixed, one / 3)
        assert loss.violation.item() == pytest.approx(0.25)  # a mean over the sides that exist

    def test_number_of_bounded_classes_does_not_change_the_weight(self):
        bounds = size_bounds((-INF, 4.0))
        both = bounds.clone()
        both[:, 0, 0, 1] = 4.0
        logits = from_sizes(8.0)
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        torch.testing.assert_close(loss(logits, bounds), loss(logits, both))

    def test_classes_by_index_or_name(self):
        shape = (2, 3, 6, 5)
        logits, bounds = make(shape), some_bounds(Size(), shape)
        only = bounds.clone()
        only[:, 0] = torch.tensor([-INF, INF])
        expected = ConstraintLoss(Size(), ReLUPenalty())(logits, only)
        names = ["background", "RV", "LV"]
        for loss in (
            ConstraintLoss(Size(), ReLUPenalty(), classes=[1, 2]),
            ConstraintLoss(Size(), ReLUPenalty(), classes=["LV", "RV"], class_names=names),
            ConstraintLoss(Size(), ReLUPenalty(), classes=[1, "LV"], class_names=names),
        ):
            torch.testing.assert_close(loss(logits, bounds), expected)

    def test_region_and_spacing_reach_the_descriptor(self):
        probs = torch.zeros(1, 1, 8, 8)
        probs[0, 0, 2, 1] = probs[0, 0, 2, 5] = probs[0, 0, 7, 7] = 1
        region = torch.zeros(1, 1, 8, 8)
        region[..., :4, :] = 1
        loss = ConstraintLoss(Spread(), ReLUPenalty(), scale=1.0)
        bounds = torch.tensor([[[[-INF, 1.0]]]])
        value = loss(probs, bounds, probs=probs, spacing=torch.tensor([[1.0, 3.0]]), region=region)
        assert value.item() == pytest.approx(6 - 1, rel=1e-5)

    def test_probs_are_used_when_given(self):
        logits, bounds = make((2, 3, 6, 5)), some_bounds(Size(), (2, 3, 6, 5))
        loss = ConstraintLoss(Size(), ReLUPenalty())
        given = loss(torch.zeros_like(logits), bounds, probs=torch.softmax(logits, 1))
        torch.testing.assert_close(given, loss(logits, bounds))

    def test_a_descriptor_that_nobody_wrote_yet(self):
        @dataclass(frozen=True)
        class Brightest:
            name: ClassVar[str] = "brightest"
            unit: ClassVar[str] = "1"
            nonnegative: ClassVar[bool] = True
            additive: ClassVar[bool] = False

            def __call__(self, probs, *, spacing=None, region=None):
                return probs.flatten(2).amax(-1, keepdim=True)

            def scale(self, bounds, shape):
                return torch.ones_like(bounds)

        logits = from_sizes(8.0)
        value = ConstraintLoss(Brightest(), ReLUPenalty())(logits, size_bounds((0.75, INF)))
        assert value.item() == pytest.approx(0.25)


class TestGroups:
    @pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
    def test_equal_to_the_stacked_volume(self, penalty):
        logits = make((5, 3, 6, 4))
        bounds = some_bounds(Size(), (2, 3, 6, 4, 5))[:1] * 1.0
        volume = logits.movedim(0, -1)[None]
        expected = ConstraintLoss(Size(), penalty)(volume, bounds)
        group = torch.full((5,), 7)
        value = ConstraintLoss(Size(), penalty)(logits, bounds.repeat(5, 1, 1, 1), group=group)
        torch.testing.assert_close(value, expected)
        explicit = ConstraintLoss(Size(), penalty)(
            logits, bounds.repeat(5, 1, 1, 1), group=group, group_weight=torch.ones(5)
        )
        torch.testing.assert_close(explicit, expected)

    def test_domain_of_a_group_is_the_volume(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty(), scale="domain")
        value = loss(from_sizes(12.0, 10.0), size_bounds((-INF, 6.0), (-INF, 6.0)), group=torch.tensor([0, 0]))
        assert value.item() == pytest.approx((16 / 32) ** 2)

    def test_weights_stand_for_slices_left_out(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        bounds = size_bounds((-INF, 20.0), (-INF, 20.0))
        weight = torch.tensor([3.0, 1.0])
        value = loss(from_sizes(10.0, 6.0), bounds, group=torch.tensor([4, 4]), group_weight=weight)
        assert value.item() == pytest.approx(((36 - 20) / 20) ** 2)
        full = loss(
            from_sizes(10.0, 10.0, 10.0, 6.0), size_bounds(*[(-INF, 20.0)] * 4), group=torch.zeros(4, dtype=torch.int64)
        )
        torch.testing.assert_close(value, full)

    def test_groups_of_unequal_size_count_alike(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        sizes, pairs = (12.0, 3.0, 10.0), [(-INF, 8.0), (2.0, 6.0), (-INF, 8.0)]
        value = loss(from_sizes(*sizes), size_bounds(*pairs), group=torch.tensor([9, 2, 9]))
        nine = loss(from_sizes(12.0, 10.0), size_bounds(*[(-INF, 8.0)] * 2), group=torch.tensor([0, 0]))
        two = loss(from_sizes(3.0), size_bounds((2.0, 6.0)), group=torch.tensor([0]))
        torch.testing.assert_close(value, (nine + two) / 2)
        assert nine.item() > 0

    def test_a_member_that_lost_its_lower_side_frees_the_group(self):
        loss = ConstraintLoss(Size(), QuadraticPenalty())
        value = loss(from_sizes(1.0, 1.0), size_bounds((10.0, 20.0), (-INF, 20.0)), group=torch.tensor([0, 0]))
        assert value.item() == 0

    def test_gradcheck(self):
        bounds = size_bounds((20.0, 25.0), (3.0, 4.0), (20.0, 25.0))
        group, weight = torch.tensor([1, 0, 1]), torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
        loss = ConstraintLoss(Size(), LogBarrierExtension(3.0))
        logits = make((3, 2, 4, 4)).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: loss(z, bounds, group=group, group_weight=weight), logits)

    def test_centroids_do_not_add_up(self):
        bounds = torch.tensor([-INF, INF]).repeat(2, 3, 2, 1)
        with pytest.raises(ValueError, match="'centroid' of a volume is not the sum over its slices"):
            ConstraintLoss(Centroid(), ReLUPenalty())(make((2, 3, 6, 5)), bounds, group=torch.tensor([0, 0]))


class TestErrors:
    @pytest.mark.parametrize("shape", [(2, 3, 2), (1, 3, 1, 2), (2, 2, 1, 2), (2, 3, 1, 3)])
    def test_bounds_of_another_shape(self, shape):
        with pytest.raises(ValueError, match=r"bounds must be \(B, K, M, 2\)"):
            ConstraintLoss(Size(), ReLUPenalty())(make((2, 3, 6, 5)), torch.zeros(shape))

    def test_bounds_of_another_descriptor(self):
        bounds = torch.tensor([-INF, INF]).repeat(2, 3, 1, 1)
        with pytest.raises(ValueError, match=r"bounds of 'centroid' must be .*\(2, 3, 2\)"):
            ConstraintLoss(Centroid(), ReLUPenalty())(make((2, 3, 6, 5)), bounds)

    @pytest.mark.parametrize("pair", [(5.0, 4.0), (math.nan, 4.0), (2.0, math.nan), (INF, INF), (-INF, -INF)])
    @pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
    def test_impossible_bounds(self, pair, penalty):
        with pytest.raises(ValueError, match=r"'size' leave no room.*sample 0 of the batch, class 1"):
            ConstraintLoss(Size(), penalty)(from_sizes(3.0), size_bounds(pair))

    def test_only_the_log_barrier_needs_room(self):
        bounds = size_bounds((4.0, 4.0))
        assert ConstraintLoss(Size(), QuadraticPenalty())(from_sizes(4.0), bounds).item() == pytest.approx(0)
        with pytest.raises(ValueError, match=r"a log-barrier needs lower < upper"):
            ConstraintLoss(Size(), LogBarrierExtension(5.0))(from_sizes(4.0), bounds)

    def test_bounds_of_other_classes_do_not_matter(self):
        bounds = torch.tensor([4.0, 4.0]).repeat(1, 3, 1, 1)
        bounds[:, 1, 0] = torch.tensor([1.0, 9.0])
        loss = ConstraintLoss(Size(), LogBarrierExtension(5.0), classes=[1])
        assert loss(make((1, 3, 4, 4)), bounds).isfinite()
        with pytest.raises(ValueError, match="sample 0 of the batch, class 2"):
            ConstraintLoss(Size(), LogBarrierExtension(5.0), classes=[1, 2])(make((1, 3, 4, 4)), bounds)

    @pytest.mark.parametrize(
        ("classes", "names", "message"),
        [
            (["LV"], None, "class 'LV' is a name: give class_names"),
            (["lv"], ["background", "LV"], r"class 'lv' is not one of \['background', 'LV'\]"),
            ([2], ["background", "LV"], "class 2 is not an index"),
            ([-1], None, "class -1 is not an index"),
        ],
    )
    def test_unknown_classes(self, classes, names, message):
        with pytest.raises(ValueError, match=message):
            ConstraintLoss(Size(), ReLUPenalty(), classes=classes, class_names=names)

    def test_class_beyond_the_logits(self):
        with pytest.raises(ValueError, match=r"classes \[5\] go beyond the 2 classes"):
            ConstraintLoss(Size(), ReLUPenalty(), classes=[5])(from_sizes(3.0), size_bounds((1.0, 2.0)))

    @pytest.mark.parametrize("scale", ["Domain", 0.0, -1.0, math.nan])
    def test_wrong_scale(self, scale):
        with pytest.raises(ValueError, match="scale must be a positive number, 'domain' or None"):
            ConstraintLoss(Size(), ReLUPenalty(), scale=scale)


def test_fit_of_a_disc_by_size_and_centroid_alone():
    """Logits of a shifted blob, moved to bounds on size and centroid by gradient steps alone."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    place = torch.tensor([0.0, 0.0], requires_grad=True)
    radius = torch.tensor(0.0, requires_grad=True)
    bounds_size = torch.tensor([[[[-INF, INF]], [[190.0, 210.0]]]])
    bounds_centre = torch.tensor([[[[-INF, INF]] * 2, [[11.0, 13.0], [13.0, 15.0]]]])
    size = ConstraintLoss(Size(), LogBarrierExtension(5.0))
    centre = ConstraintLoss(Centroid(), LogBarrierExtension(5.0))
    optimiser = torch.optim.Adam([place, radius], lr=0.1)
    for step in range(400):
        for loss in (size, centre):
            loss.penalty.set_t(min(5 * 1.02**step, 1000))
        optimiser.zero_grad()
        blob = 6 + radius - ((y - 8 - place[0]) ** 2 + (x - 8 - place[1]) ** 2 + 1e-3).sqrt()
        logits = torch.stack((torch.zeros_like(blob), blob))[None]
        (size(logits, bounds_size) + centre(logits, bounds_centre)).backward()
        optimiser.step()
    assert size.violation.item() == 0
    assert centre.violation.item() == 0
    torch.testing.assert_close(place.detach(), torch.tensor([4.0, 6.0]), atol=1.0, rtol=0)


@pytest.mark.parametrize("penalty", [QuadraticPenalty(), LogBarrierExtension(50.0)], ids=lambda p: type(p).__name__)
def test_a_ragged_border_becomes_smooth(penalty):
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 6:14, 6:14] = 1
    mask[..., 2:6, 6:14:2] = mask[..., 14:18, 7:14:2] = 1  # a comb on two sides
    logits = torch.cat((3 - 6 * mask, 6 * mask - 3), 1).requires_grad_()
    bounds = torch.tensor([[-INF, INF], [-INF, 0.6]])[None, :, None]
    constraint = ConstraintLoss(PerimeterToArea(), penalty)
    assert PerimeterToArea()(mask).item() > 0.8
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        constraint(logits, bounds).backward()
        optimizer.step()
    assert PerimeterToArea()(logits.softmax(1))[0, 1].item() < 0.61
    assert logits.argmax(1)[..., 6:14, 6:14].float().mean() > 0.9
