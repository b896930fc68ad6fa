# SPDX-License-Identifier: Apache-2.0
"""Descriptors: hand values, gradients, scales and moved bounds."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.descriptors import DESCRIPTORS, Centroid, Compactness, Length, PerimeterToArea, Size, Spread

ALL = [descriptor() for descriptor in DESCRIPTORS]
INF = math.inf


def grid(*shape: int) -> list[torch.Tensor]:
    return list(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij"))


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> torch.Tensor:
    square = sum((x - c) ** 2 for x, c in zip(grid(*shape), centre, strict=True))
    return (square <= radius**2).float()[None, None]


def ones_spacing(probs: torch.Tensor) -> torch.Tensor:
    return torch.ones(probs.shape[0], probs.dim() - 2, dtype=probs.dtype)


def soft(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(shape, generator=generator, dtype=torch.float64), 1)


class TestHandValues:
    def test_size_is_the_sum(self):
        probs = soft((2, 3, 5, 4))
        measure = Size()(probs)
        assert measure.shape == (2, 3, 1)
        torch.testing.assert_close(measure[..., 0], torch.einsum("bkwh->bk", probs))
        assert Size()(torch.full((1, 1, 4, 5, 6), 0.5))[0, 0, 0] == 60

    def test_centroid_is_in_voxel_indices_axis_order(self):
        probs = torch.zeros(1, 2, 6, 9)
        probs[0, 0, 2, 7] = 0.25
        probs[0, 1, 1, 3] = 0.5
        probs[0, 1, 5, 3] = 0.25
        torch.testing.assert_close(Centroid()(probs), torch.tensor([[[2.0, 7.0], [7 / 3, 3.0]]]))
        uniform = Centroid()(torch.ones(1, 1, 256, 256))
        torch.testing.assert_close(uniform, torch.full((1, 1, 2), 127.5))

    @pytest.mark.parametrize("shape", [(2, 3, 7, 5), (2, 2, 4, 5, 6)])
    def test_centroid_equals_the_published_formula(self, shape):
        probs = soft(shape)
        axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in shape[2:]], indexing="ij")
        mass = probs.flatten(2).sum(-1) + 1e-10
        expected = torch.stack([(probs * x).flatten(2).sum(-1) / mass for x in axes], -1)
        torch.testing.assert_close(Centroid()(probs), expected)

    def test_centroid_of_faint_and_missing_classes(self):
        faint = Centroid()(torch.full((1, 1, 256, 256), 1e-10))
        torch.testing.assert_close(faint, torch.full((1, 1, 2), 127.5), rtol=1e-3, atol=0)
        assert Centroid()(torch.zeros(1, 1, 8, 8)).tolist() == [[[0.0, 0.0]]]

    def test_spread_of_two_voxels(self):
        probs = torch.zeros(1, 1, 8, 8)
        probs[0, 0, 2, 1] = probs[0, 0, 2, 5] = 1
        assert Spread()(probs).item() == pytest.approx(2.0, rel=1e-5)
        assert Spread()(probs, spacing=torch.tensor([[5.0, 1.5]])).item() == pytest.approx(3.0, rel=1e-5)
        volume = torch.zeros(1, 1, 4, 4, 4)
        volume[0, 0, 0, 1, 1] = volume[0, 0, 3, 1, 1] = 1
        assert Spread()(volume, spacing=torch.tensor([[8.0, 1.0, 1.0]])).item() == pytest.approx(12.0, rel=1e-5)

    def test_spread_of_a_disc_is_two_thirds_of_its_radius(self):
        assert Spread()(ball((64, 64), (31, 30), 20)).item() == pytest.approx(40 / 3, rel=0.02)

    def test_length_of_a_straight_border(self):
        probs = torch.zeros(1, 1, 8, 6)
        probs[:, :, :3] = 1
        assert Length()(probs).item() == pytest.approx(6.0, abs=1e-4)
        assert Length()(probs, spacing=torch.tensor([[3.0, 0.5]])).item() == pytest.approx(3.0, abs=1e-4)
        volume = torch.zeros(1, 1, 4, 5, 6)
        volume[:, :, :, :2] = 1
        area = Length()(volume, spacing=torch.tensor([[2.0, 9.0, 0.5]])).item()
        assert area == pytest.approx(4 * 2 * 6 * 0.5, abs=1e-3)

    def test_length_of_a_diagonal_border(self):
        y, x = grid(40, 40)
        probs = (y + x < 39).float()[None, None]
        assert Length()(probs).item() == pytest.approx(39 * math.sqrt(2), rel=0.02)

    @pytest.mark.parametrize(("shape", "radius"), [((64, 64), 25.0), ((32, 32, 32), 12.0)])
    def test_length_of_a_ball(self, shape, radius):
        probs = ball(shape, tuple(n / 2 for n in shape), radius)
        true = 2 * math.pi * radius if len(shape) == 2 else 4 * math.pi * radius**2
        assert Length()(probs, spacing=ones_spacing(probs)).item() == pytest.approx(true, rel=0.08)

    def test_length_does_not_depend_on_the_side_it_is_seen_from(self):
        y, x = grid(24, 24)
        triangle = ((y > 4) & (x > 3) & (y + 2 * x < 36)).float()[None, None]
        expected = Length()(triangle)
        for turned in (triangle.flip(2), triangle.flip(3), triangle.rot90(1, (2, 3)), triangle.transpose(2, 3)):
            torch.testing.assert_close(Length()(turned), expected)

    def test_length_of_a_uniform_map_is_zero(self):
        assert Length()(torch.full((1, 2, 7, 7), 0.5)).abs().max() < 1e-3
        assert Length()(torch.ones(1, 1, 5, 5, 5), spacing=torch.ones(1, 3)).abs().max() < 1e-3

    def test_compactness_of_ball_and_square(self):
        disc = ball((96, 96), (47, 48), 40)
        assert Compactness()(disc).item() == pytest.approx(4 * math.pi, rel=0.15)
        ball3 = ball((48, 48, 48), (24, 24, 24), 20)
        assert Compactness()(ball3, spacing=ones_spacing(ball3)).item() == pytest.approx(
            6 * math.sqrt(math.pi), rel=0.1
        )
        bar = torch.zeros(1, 1, 96, 96)
        bar[:, :, 40:50, 5:90] = 1
        assert Compactness()(bar).item() == pytest.approx(190**2 / 850, rel=0.02)

    def test_compactness_has_no_unit(self):
        disc = ball((48, 48), (24, 24), 15)
        in_mm = Compactness()(disc, spacing=torch.tensor([[3.0, 3.0]]))
        torch.testing.assert_close(in_mm, Compactness()(disc), rtol=1e-4, atol=0)

    def test_perimeter_to_area_of_disc_ball_and_band(self):
        disc = ball((96, 96), (47, 48), 40)
        assert PerimeterToArea()(disc).item() == pytest.approx(2 / 40, rel=0.08)
        assert PerimeterToArea()(disc, spacing=torch.tensor([[4.0, 4.0]])).item() == pytest.approx(2 / 160, rel=0.08)
        ball3 = ball((48, 48, 48), (24, 24, 24), 20)
        assert PerimeterToArea()(ball3, spacing=ones_spacing(ball3)).item() == pytest.approx(3 / 20, rel=0.1)
        band = torch.zeros(1, 1, 30, 8)
        band[:, :, 10:15] = 1  # it ends at the frame, which is no border
        assert PerimeterToArea()(band).item() == pytest.approx(2 / 5, rel=1e-5)
        assert PerimeterToArea()(band, spacing=torch.tensor([[0.5, 3.0]])).item() == pytest.approx(2 / 2.5, rel=1e-5)

    @pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
    def test_region_leaves_out_what_lies_outside(self, descriptor):
        probs = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
        region = torch.zeros(1, 1, 6, 6, dtype=torch.int64)
        region[..., 1:4, 2:5] = 2
        torch.testing.assert_close(descriptor(probs, region=region), descriptor(probs * (region > 0)))


@pytest.mark.parametrize("descriptor", ALL, ids=lambda d: d.name)
class TestEvery:
    @pytest.mark.parametrize(
        ("shape", "with_spacing"), [((2, 3, 4, 5), False), ((2, 3, 4, 5), True), ((2, 2, 3, 4, 3), True)]
    )
    def test_gradcheck(self, descriptor, shape, with_spacing):
        spacing = torch.tensor([[1.5, 0.7, 3.0]] * 2, dtype=torch.float64)[:, : len(shape) - 2]
        probs = soft(shape).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda p: descriptor(p, spacing=spacing if with_spacing else None), probs, atol=1e-5
        )

    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 3, 4, 3)])
    def test_shape_and_independence_of_samples_and_classes(self, descriptor, shape):
        probs = soft(shape)
        spacing = torch.rand(2, len(shape) - 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
        whole = descriptor(probs, spacing=spacing)
        assert whole.shape == (2, 3, descriptor.components(len(shape) - 2))
        for b in range(2):
            for k in range(3):
                alone = descriptor(probs[b : b + 1, k : k + 1], spacing=spacing[b : b + 1])
                torch.testing.assert_close(alone[0, 0], whole[b, k])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_measured_in_float32(self, descriptor, dtype):
        probs = torch.ones(1, 1, 256, 256, dtype=dtype)
        measure = descriptor(probs)
        assert measure.dtype == torch.float32
        torch.testing.assert_close(measure, descriptor(probs.float()))
        if descriptor.name == "size":
            assert measure.item() == 65536

    def test_float32_inside_autocast(self, descriptor):
        probs = soft((2, 3, 64, 64)).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = descriptor(probs)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, descriptor(probs), rtol=0, atol=0)

    @pytest.mark.parametrize("shape", [(1, 2, 6, 6), (1, 2, 4, 4, 4)])
    @pytest.mark.parametrize("value", [0.0, 1e-30, 0.5, 1.0])
    def test_finite_value_and_gradient_on_flat_maps(self, descriptor, shape, value):
        probs = torch.full(shape, value, requires_grad=True)
        measure = descriptor(probs, spacing=ones_spacing(probs))
        measure.sum().backward()
        assert measure.isfinite().all()
        assert probs.grad.isfinite().all()

    def test_finite_gradient_through_a_saturated_softmax(self, descriptor):
        logits = torch.zeros(1, 2, 8, 8)
        logits[:, 0] = 500
        logits.requires_grad_()
        descriptor(torch.softmax(logits, 1)).sum().backward()
        assert logits.grad.isfinite().all()

    def test_integer_masks_are_measured(self, descriptor):
        mask = ball((12, 12), (6, 5), 4)
        torch.testing.assert_close(descriptor(mask.to(torch.uint8)), descriptor(mask))

    def test_scale_is_positive_and_finite(self, descriptor):
        components = descriptor.components(2)
        bounds = torch.tensor([[-INF, INF], [-INF, 0.0], [5.0, INF], [3.0, 40.0], [1e-3, 2e-3]])
        bounds = bounds[None, :, None].repeat(1, 1, components, 1)
        scale = descriptor.scale(bounds, (20, 30))
        assert scale.shape == bounds.shape
        assert scale.isfinite().all()
        assert (scale > 0).all()

    def test_one_sided_and_missing_bounds_stay_so_when_moved(self, descriptor):
        components = descriptor.components(2)
        bounds = torch.tensor([[-INF, INF], [-INF, 7.0], [5.0, INF], [3.0, 9.0]])
        bounds = bounds[None, :, None].repeat(1, 1, components, 1)
        matrix = torch.eye(3, dtype=torch.float64)[None] * 1.0
        matrix[:, :2, :2] *= 1.1
        cut = torch.zeros(1, 4, dtype=torch.bool)
        spacing = (torch.ones(1, 2), torch.ones(1, 2))
        moved = descriptor.move(bounds, matrix, cut, spacing)
        assert torch.equal(moved.isfinite(), bounds.isfinite())
        assert moved.dtype == bounds.dtype
        torch.testing.assert_close(descriptor.move(bounds, torch.eye(3, dtype=torch.float64)[None], cut), bounds)

    def test_of_a_cut_class_only_the_upper_size_survives(self, descriptor):
        bounds = torch.tensor([3.0, 9.0]).repeat(1, 2, descriptor.components(2), 1)
        cut = torch.tensor([[True, False]])
        moved = descriptor.move(bounds, torch.eye(3, dtype=torch.float64)[None], cut)
        torch.testing.assert_close(moved[:, 1], bounds[:, 1])
        assert (moved[0, 0, :, 0] == -INF).all()
        assert (moved[0, 0, :, 1] == (9.0 if descriptor.name == "size" else INF)).all()


class TestScale:
    def test_size_own_bound_with_a_floor_of_the_domain(self):
        bounds = torch.tensor([[[[3.0, 400.0]], [[-INF, 0.0]], [[30.0, INF]]]])
        assert Size().scale(bounds, (20, 20))[0, :, 0].tolist() == [[20, 400], [20, 20], [30, 20]]
        assert Size(floor=0.5).scale(bounds, (20, 20))[0, 0, 0].tolist() == [200, 400]

    def test_centroid_quarter_of_the_interval_or_of_the_extent(self):
        bounds = torch.tensor([[[[10.0, 50.0], [4.0, 5.0]], [[10.0, INF], [-INF, INF]]]])
        scale = Centroid().scale(bounds, (100, 200))
        assert scale[0, 0].tolist() == [[10, 10], [4, 4]]
        assert scale[0, 1].tolist() == [[25, 25], [50, 50]]

    def test_centroid_scale_does_not_depend_on_the_place(self):
        bounds = torch.tensor([[[[0.0, 40.0], [0.0, 40.0]]]])
        torch.testing.assert_close(Centroid().scale(bounds, (99, 99)), Centroid().scale(bounds + 50, (99, 99)))


class TestMove:
    def test_size_by_the_determinant(self):
        matrix = torch.eye(3, dtype=torch.float64)[None].clone()
        matrix[0, :2, :2] = torch.tensor([[0.0, -2.0], [1.5, 0.0]])
        moved = Size().move(torch.tensor([[[[10.0, 20.0]]]]), matrix, torch.zeros(1, 1, dtype=torch.bool))
        assert moved.flatten().tolist() == [30, 60]

    def test_centroid_hull_of_the_moved_box(self):
        turn = math.radians(30)
        matrix = torch.eye(3, dtype=torch.float64)[None].clone()
        matrix[0, :2] = torch.tensor(
            [[math.cos(turn), -math.sin(turn), 5.0], [math.sin(turn), math.cos(turn), -2.0]], dtype=torch.float64
        )
        bounds = torch.tensor([[[[2.0, 6.0], [10.0, 13.0]]]])
        moved = Centroid().move(bounds, matrix, torch.zeros(1, 1, dtype=torch.bool))[0, 0].double()
        corners = torch.tensor([[x, y, 1.0] for x in (2, 6) for y in (10, 13)], dtype=torch.float64)
        image = corners @ matrix[0].T
        torch.testing.assert_close(moved[:, 0], image[:, :2].amin(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(moved[:, 1], image[:, :2].amax(0), rtol=1e-6, atol=1e-6)

    def test_centroid_flip_swaps_a_one_sided_bound(self):
        matrix = torch.eye(3, dtype=torch.float64)[None].clone()
        matrix[0, 0, 0], matrix[0, 0, 2] = -1, 9
        bounds = torch.tensor([[[[2.0, INF], [-INF, 4.0]]]])
        moved = Centroid().move(bounds, matrix, torch.zeros(1, 1, dtype=torch.bool))
        assert moved[0, 0].tolist() == [[-INF, 7.0], [-INF, 4.0]]

    def test_spread_and_length_by_the_extreme_stretches_in_mm(self):
        matrix = torch.diag(torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64))[None]
        cut = torch.zeros(1, 1, dtype=torch.bool)
        bounds = torch.tensor([[[[10.0, 20.0]]]])
        for descriptor in (Spread(), Length()):
            assert descriptor.move(bounds, matrix, cut).flatten().tolist() == [5, 60]
            in_mm = descriptor.move(bounds, matrix, cut, (torch.tensor([[1.0, 6.0]]), torch.tensor([[2.0, 2.0]])))
            torch.testing.assert_close(in_mm.flatten(), torch.tensor([10.0, 20.0]))

    def test_area_by_products_of_two_stretches(self):
        matrix = torch.diag(torch.tensor([2.0, 3.0, 5.0, 1.0], dtype=torch.float64))[None]
        moved = Length().move(torch.ones(1, 1, 1, 2), matrix, torch.zeros(1, 1, dtype=torch.bool))
        torch.testing.assert_close(moved.flatten(), torch.tensor([6.0, 15.0]))

    def test_perimeter_to_area_by_boundary_over_size(self):
        matrix = torch.diag(torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64))[None]
        bounds = torch.tensor([[[[0.3, 0.6]]]])
        moved = PerimeterToArea().move(bounds, matrix, torch.zeros(1, 1, dtype=torch.bool))
        torch.testing.assert_close(moved.flatten(), torch.tensor([0.3 / 3, 0.6 / 2]))

    def test_compactness_is_kept_by_similarities(self):
        matrix = torch.diag(torch.tensor([-2.0, 2.0, 1.0], dtype=torch.float64))[None]
        bounds = torch.tensor([[[[12.0, 20.0]]]])
        torch.testing.assert_close(Compactness().move(bounds, matrix, torch.zeros(1, 1, dtype=torch.bool)), bounds)


class TestErrors:
    @pytest.mark.parametrize("descriptor", [Spread(), Length(), Compactness(), PerimeterToArea()], ids=lambda d: d.name)
    def test_3d_without_spacing_is_refused(self, descriptor):
        with pytest.raises(ValueError, match=f"{descriptor.name} in 3D needs spacing"):
            descriptor(torch.zeros(1, 1, 3, 3, 3))

    @pytest.mark.parametrize("descriptor", [Spread(), Length(), Compactness(), PerimeterToArea()], ids=lambda d: d.name)
    def test_wrong_spacing_is_refused(self, descriptor):
        with pytest.raises(ValueError, match=r"spacing must be \(B, D\) = \(2, 2\), got \(2, 3\)"):
            descriptor(torch.zeros(2, 1, 3, 3), spacing=torch.ones(2, 3))

    def test_only_sizes_add_up_over_slices(self):
        assert [d.name for d in ALL if d.additive] == ["size"]
